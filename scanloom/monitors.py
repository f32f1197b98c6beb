"""Is the embedding alive? Two numbers that need no labels and fall when a self-supervised training collapses."""

import numpy as np


def embedding_std(features: np.ndarray) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised features [n, D].

    0: all images have one embedding (collapsed). 1 / sqrt(D): spread evenly over the sphere. Chen & He, arXiv
    2011.10566, figure 2.
    """
    features = np.asarray(features, np.float64)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return float((features / np.maximum(lengths, 1e-12)).std(axis=0).mean())


def rankme(features: np.ndarray) -> float:
    """Effective rank of features [n, D], from 1 to min(n, D): exp of the entropy of the normalised singular values.

    Garrido et al., RankMe, arXiv 2210.02885, equation 1. It compares runs of one method only.
    """
    values = np.linalg.svd(np.asarray(features, np.float64), compute_uv=False)
    total = values.sum()
    if total == 0:
        return 1.0
    shares = values / total
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))

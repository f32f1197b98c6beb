"""Numbers that say what an encoder's features are worth while it trains; most need no labels.

Features are `[n, D]`; everything is NumPy, so a machine with JAX alone has them too.
"""

import numpy as np

TEMPERATURE = 0.07
"""Of the votes of nearest neighbours: Wu et al., arXiv 1805.01978, section 3.4."""
LIDAR_DELTA = 1e-4


def embedding_std(features: np.ndarray) -> float:
    """Mean over dimensions of the standard deviation of L2-normalised features [n, D].

    0: all images have one embedding (collapsed). 1 / sqrt(D): spread evenly over the sphere. Chen & He, arXiv
    2011.10566, figure 2.
    """
    return float(_unit(features).std(axis=0).mean())


def rankme(features: np.ndarray) -> float:
    """Effective rank of features [n, D], from 1 to min(n, D): exp of the entropy of the normalised singular values.

    Garrido et al., RankMe, arXiv 2210.02885, equation 1. It compares runs of one method only.
    """
    return _effective_rank(np.linalg.svd(np.asarray(features, np.float64), compute_uv=False))


def lidar(features: np.ndarray) -> float:
    """Effective rank of what tells images apart, beside what their views differ in; features [images, views, D].

    The entropy of the eigenvalues of S_w^-1/2 S_b S_w^-1/2, with the covariance S_b of the images' means and S_w of
    views around them. Thilak et al., LiDAR, arXiv 2312.04000, equations 1 to 4; 1,000 images x 50 views there.
    """
    features = np.asarray(features, np.float64)
    means = features.mean(axis=1)
    between = means - means.mean(axis=0)
    within = (features - means[:, None]).reshape(-1, features.shape[-1])
    covariance = within.T @ within / len(within) + LIDAR_DELTA * np.eye(within.shape[1])
    values, vectors = np.linalg.eigh(covariance)
    # None is smaller than LIDAR_DELTA but for rounding, which makes those of large features negative.
    values = np.maximum(values, max(LIDAR_DELTA, len(values) * np.finfo(float).eps * values[-1]))
    whitened = between @ (vectors / np.sqrt(values)) / np.sqrt(max(len(between) - 1, 1))
    return _effective_rank(np.linalg.svd(whitened, compute_uv=False) ** 2)


def alignment(features: np.ndarray) -> float:
    """Mean squared distance of two views of an image on the unit sphere; features [images, views, D]. 0: invariant.

    Wang & Isola, arXiv 2005.10242, equation 4 with alpha = 2; all pairs of views count.
    """
    unit = _unit(features)
    views = unit.shape[1]
    # The mean over pairs of |a - b|^2 is twice the variance with divisor views - 1.
    return float(2 * unit.var(axis=1, ddof=1).sum(axis=-1).mean()) if views > 1 else 0.0


def uniformity(features: np.ndarray) -> float:
    """log of the mean of exp(-2 |a - b|^2) over pairs of images on the unit sphere, features [n, D]. 0: collapsed.

    Wang & Isola, arXiv 2005.10242, equation 5 with t = 2. Lower is more even; isotropic features in many dimensions
    have nearly -4.
    """
    unit = _unit(features)
    squared = np.clip(2 - 2 * unit @ unit.T, 0, 4)[np.triu_indices(len(unit), 1)]
    return float(np.log(np.exp(-2 * squared).mean()))


def dead_units(features: np.ndarray) -> float:
    """Share of the D features that do not change from image to image: by less than a thousandth of their joint size."""
    features = np.asarray(features, np.float64)
    size = np.sqrt(np.square(features).mean())
    return float((features.std(axis=0) <= 1e-3 * size).mean())


def redundancy(embeddings: np.ndarray) -> float:
    """Root mean square of the correlations of different dimensions over images, [n, D]: 0 none, 1 all say the same.

    A dimension that does not vary counts as saying the same: it adds nothing either. What the second term of Barlow
    Twins lowers (arXiv 2103.03230, equation 1); n independent images leave about 1 / sqrt(n).
    """
    centred = np.asarray(embeddings, np.float64) - np.mean(embeddings, axis=0, dtype=np.float64)
    spread = np.sqrt(np.square(centred).mean(axis=0))
    alive = spread > 1e-3 * np.sqrt(np.square(np.asarray(embeddings, np.float64)).mean())
    correlation = np.ones((len(alive), len(alive)))
    scaled = centred[:, alive] / spread[alive]
    correlation[np.ix_(alive, alive)] = scaled.T @ scaled / len(scaled)
    different = ~np.eye(len(alive), dtype=bool)
    return float(np.sqrt(np.square(correlation[different]).mean()))


def effective_dimensions(features: np.ndarray) -> float:
    """Participation ratio of the covariance's eigenvalues, (sum)^2 / sum of squares; features [n, D].

    n equal directions of variation give n, whatever their mean and size; it is 0 where nothing varies. Gao et al., A
    theory of multineuronal dimensionality, bioRxiv 214262.
    """
    centred = np.asarray(features, np.float64) - np.mean(features, axis=0, dtype=np.float64)
    # The smaller of the two Gram matrices has the same eigenvalues; their sum is its trace.
    gram = centred.T @ centred if centred.shape[0] > centred.shape[1] else centred @ centred.T
    squares = np.square(gram).sum()
    return float(np.trace(gram) ** 2 / squares) if squares > 0 else 0.0


def knn_accuracy(bank, bank_labels, queries, query_labels, neighbours: int) -> float:
    """Balanced accuracy of classes voted by the nearest features by cosine, votes weighted by exp(cosine / 0.07).

    Each vote is divided by the class's frequency in the bank, so that 1 / classes is chance. Caron et al., arXiv
    2104.14294, appendix F.1, uses the same votes.
    """
    cosine = _unit(queries) @ _unit(bank).T
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : min(neighbours, len(bank))]
    votes = np.exp((np.take_along_axis(cosine, nearest, axis=1) - 1) / TEMPERATURE)
    classes, members = np.unique(bank_labels, return_counts=True)
    labels = np.asarray(bank_labels)[nearest]
    scores = np.einsum("qk,qkc->qc", votes, (labels[..., None] == classes) / members)
    found = classes[np.argmax(scores, axis=1)]
    return _balanced_accuracy(query_labels, found)


def probe_accuracy(bank, bank_labels, queries, query_labels) -> float:
    """Balanced accuracy of a linear classifier: ridge regression on the classes' indicators, every class weighing one.

    Features are standardised by the bank; the penalty is a hundredth of the bank's size per standardised feature.
    """
    bank, queries = np.asarray(bank, np.float64), np.asarray(queries, np.float64)
    centre, spread = bank.mean(axis=0), bank.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    x, y = (bank - centre) / spread, np.asarray(bank_labels)
    classes, members = np.unique(y, return_counts=True)
    weights = (1 / members)[np.searchsorted(classes, y)][:, None] * len(y) / len(classes)
    design = np.hstack([x, np.ones((len(x), 1))])
    targets = 2.0 * (y[:, None] == classes) - 1
    penalty = 1e-2 * len(x) * np.eye(design.shape[1])
    penalty[-1, -1] = 0
    fitted = np.linalg.solve(design.T @ (weights * design) + penalty, design.T @ (weights * targets))
    scores = np.hstack([(queries - centre) / spread, np.ones((len(queries), 1))]) @ fitted
    return _balanced_accuracy(query_labels, classes[np.argmax(scores, axis=1)])


def _balanced_accuracy(labels, found) -> float:
    labels = np.asarray(labels)
    return float(np.mean([(found[labels == label] == label).mean() for label in np.unique(labels)]))


def _unit(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), 1e-12)


def _effective_rank(values: np.ndarray) -> float:
    total = values.sum()
    if total == 0:
        return 1.0
    shares = values / total
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))

"""Does each number of a code say one thing? Four scores against known factors of variation.

Codes are float [n, D], factors [n, K], numbers of few values each: n images of which it is known how they were made.
Every score is 1 where each factor has a code dimension of its own; what a score is for codes that say nothing stands
with it. They measure different things and rank models differently (Locatello et al., arXiv 1811.12359), so they are
given together.
"""

import numpy as np

BINS = 20
TREES = 50
VOTES = 800
VOTE_IMAGES = 64
DEAD_STD = 1e-6
"""Code dimensions whose standard deviation is below this share of the largest one do not vary."""


def disentanglement_scores(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> dict[str, float]:
    """mig, sap, dci_disentanglement, dci_completeness, dci_informativeness and factor_vae of the codes.

    Raises ValueError for factors that do not vary, shapes that do not fit and codes that are not finite.
    """
    codes, factors = _checked(codes, factors)
    parts = dci(codes, factors, seed)
    scores = {"mig": mig(codes, factors), "sap": sap(codes, factors)}
    scores |= {f"dci_{name}": value for name, value in parts.items()}
    return scores | {"factor_vae": factor_vae_score(codes, factors, seed)}


def mig(codes: np.ndarray, factors: np.ndarray) -> float:
    """Mutual information gap: mean over factors of (largest - second largest information with a dimension) / entropy.

    0 where no dimension knows a factor better than another one. Chen et al., arXiv 1802.04942, equation 6; codes cut
    into 20 bins of equal width (arXiv 1811.12359).
    """
    codes, factors = _checked(codes, factors)
    information = mutual_information(codes, factors)
    entropy = np.array([_entropy(np.unique(factor, return_counts=True)[1]) for factor in factors.T])
    return float(np.mean(_gap(information) / entropy))


def mutual_information(codes: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Nats [D, K] between every dimension, cut into 20 bins of equal width, and every factor."""
    binned = np.stack([_binned(code) for code in codes.T])
    found = np.zeros((len(binned), factors.shape[1]))
    for k, factor in enumerate(factors.T):
        values = np.unique(factor, return_inverse=True)[1]
        for d, code in enumerate(binned):
            joint = np.bincount(code * (values.max() + 1) + values, minlength=BINS * (values.max() + 1))
            joint = joint.reshape(BINS, -1)
            found[d, k] = _entropy(joint.sum(1)) + _entropy(joint.sum(0)) - _entropy(joint.ravel())
    return found


def sap(codes: np.ndarray, factors: np.ndarray) -> float:
    """Separated attribute predictability: mean over factors of the gap between the two dimensions that predict it best.

    Predicted linearly, from one dimension: the score is the squared correlation, for factors whose values have an order
    (Kumar, Sattigeri & Balakrishnan, arXiv 1711.00848, section 3). 0 where two dimensions predict equally well.
    """
    codes, factors = _checked(codes, factors)
    codes, factors = codes - codes.mean(0), factors - factors.mean(0)
    spread = np.outer((codes**2).sum(0), (factors**2).sum(0))
    squared = (codes.T @ factors) ** 2
    return float(np.mean(_gap(np.divide(squared, spread, out=np.zeros_like(squared), where=spread > 0))))


def dci(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> dict[str, float]:
    """disentanglement: does a dimension tell one factor only? completeness: is a factor in one dimension only?
    informativeness: accuracy of predicting the factors from the code, in the half of the images not fitted.

    By the importances of random forests (Eastwood & Williams, ICLR 2018, section 2), one forest per factor.
    Disentanglement and completeness are 0 where all importances are equal; informativeness is then at chance.
    """
    from sklearn.ensemble import RandomForestClassifier

    codes, factors = _checked(codes, factors)
    order = np.random.default_rng(seed).permutation(len(codes))
    fitted, held = order[: len(order) // 2], order[len(order) // 2 :]
    importance, right = np.zeros((codes.shape[1], factors.shape[1])), []
    for k, factor in enumerate(factors.T):
        factor = np.unique(factor, return_inverse=True)[1]  # scikit-learn takes fractions for a regression
        # All dimensions at every split: a random few would give credit to dimensions that only stand in for the best.
        forest = RandomForestClassifier(TREES, max_features=None, random_state=seed, min_samples_leaf=2)
        forest.fit(codes[fitted], factor[fitted])
        importance[:, k] = forest.feature_importances_
        right.append(np.mean(forest.predict(codes[held]) == factor[held]))
    return {
        "disentanglement": _concentration(importance),
        "completeness": _concentration(importance.T),
        "informativeness": float(np.mean(right)),
    }


def factor_vae_score(codes: np.ndarray, factors: np.ndarray, seed: int = 0) -> float:
    """Accuracy of telling which factor was held fixed from the dimension that varies least; chance is about 1 / K.

    Kim & Mnih, arXiv 1802.05983, section 4: each of 800 votes fixes a random factor at a random image's value, takes
    64 images with it, and votes by the dimension with the smallest variance, as a share of the variance over all
    images; dimensions that do not vary do not vote. The majority's factor per dimension is then tested on 800
    further votes.
    """
    codes, factors = _checked(codes, factors)
    rng = np.random.default_rng(seed)
    std = codes.std(axis=0)
    alive = np.flatnonzero(std > DEAD_STD * std.max()) if std.max() > 0 else np.array([], int)
    if not len(alive):
        return 0.0
    table = np.zeros((2, len(alive), factors.shape[1]), int)
    for k, factor in enumerate(factors.T):
        # Images sorted by the factor: those with one value are a range, from which images are drawn by position.
        order = np.argsort(factor, kind="stable")
        for votes in table:
            count = _share(VOTES, factors.shape[1], k)
            value = factor[rng.integers(len(factor), size=count)]
            first, last = (np.searchsorted(factor[order], value, side) for side in ("left", "right"))
            position = first[:, None] + (rng.random((count, VOTE_IMAGES)) * (last - first)[:, None]).astype(int)
            varying = (codes[order[position]][:, :, alive] / std[alive]).var(axis=1)
            votes[:, k] += np.bincount(varying.argmin(axis=1), minlength=len(alive))
    learnt, tested = table
    return float(tested[np.arange(len(alive)), learnt.argmax(axis=1)].sum() / tested.sum())


def _checked(codes: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, factors = np.asarray(codes, np.float64), np.asarray(factors)
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
        raise ValueError(f"codes {codes.shape} and factors {factors.shape} must be [n, D] and [n, K] of the same n")
    if not np.isfinite(codes).all():
        raise ValueError("codes are not all finite")
    still = np.flatnonzero((factors == factors[:1]).all(axis=0))
    if len(still):
        raise ValueError(f"factor {still[0]} has one value in all {len(factors)} images: nothing to tell from the code")
    return codes, factors


def _gap(scores: np.ndarray) -> np.ndarray:
    """Largest minus second largest over the first axis of [D, K]; the largest where D is 1."""
    ordered = np.sort(scores, axis=0)
    return ordered[-1] - (ordered[-2] if len(ordered) > 1 else 0.0)


def _binned(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    return np.minimum(((values - low) / max(high - low, 1e-12) * BINS).astype(int), BINS - 1)


def _entropy(counts: np.ndarray) -> float:
    """Nats of a table of counts."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def _concentration(importance: np.ndarray) -> float:
    """Mean over rows, weighted by their sums, of 1 - entropy / largest entropy of the row's shares."""
    columns = importance.shape[1]
    if columns < 2 or not importance.sum():
        return 1.0 if importance.sum() else 0.0
    sums = importance.sum(axis=1)
    rows = [
        1.0 - _entropy(row) / np.log(columns) if total else 0.0 for row, total in zip(importance, sums, strict=True)
    ]
    return float(np.average(rows, weights=sums))


def _share(total: int, parts: int, part: int) -> int:
    """How many of `total` fall to one of `parts`, as even as possible."""
    return total // parts + (part < total % parts)

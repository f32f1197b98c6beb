"""Are generated images like real ones, as varied as they, and not copies of them? Judged in any features [n, D].

Real and generated rows must come from the same encoder, in inference mode. Numbers in one encoder's features cannot be
compared with numbers in another's, so not with published ones in Inception features either.
"""

import numpy as np
from scipy.spatial.distance import cdist

NEIGHBOURS = 3
ROWS_AT_ONCE = 1024
COPY_QUANTILE = 0.01
THRESHOLD_ROWS = 1024
"""Training rows whose distances to all the others say what is near: all pairs of a large corpus would take hours."""


def fid(real: np.ndarray, made: np.ndarray) -> float:
    """Frechet distance of the normal distributions with the rows' means and covariances; 0 for equal ones.

    Heusel et al., arXiv 1706.08500, equation 6. Small samples make it too large: compare equal numbers of images only.
    Raises ValueError for fewer than 2 rows or other widths.
    """
    real, made = _checked(real, made)
    moments = [(rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))) for rows in (real, made)]
    return frechet_distance(*moments[0], *moments[1])


def frechet_distance(mean1, covariance1, mean2, covariance2) -> float:
    """|m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)), of two normal distributions."""
    root = _root(covariance1)
    # The trace of the root of C1 C2 is that of the root of C1^(1/2) C2 C1^(1/2), which is symmetric.
    mixed = np.sqrt(np.clip(np.linalg.eigvalsh(root @ covariance2 @ root), 0.0, None)).sum()
    distance = np.sum((mean1 - mean2) ** 2) + np.trace(covariance1) + np.trace(covariance2) - 2.0 * mixed
    return float(max(distance, 0.0))


def kid(real: np.ndarray, made: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / D + 1)^3, without bias: 0 on average for equal ones.

    Binkowski et al., arXiv 1801.01401, section 3; over all rows, not a mean over subsets; it may be below 0.
    """
    real, made = _checked(real, made)
    within = [_kernel_sum(rows, rows, diagonal=False) / (len(rows) * (len(rows) - 1)) for rows in (real, made)]
    return float(sum(within) - 2.0 * _kernel_sum(real, made) / (len(real) * len(made)))


def precision_recall(real: np.ndarray, made: np.ndarray, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """(share of generated rows among the real ones, share of real rows among the generated ones).

    A row is among others if it is no farther from one of them than that one's k-th nearest neighbour of its own kind.
    Kynkaanniemi et al., arXiv 1904.06991, equations 1 and 2, k = 3. Raises ValueError for k rows or fewer.
    """
    real, made = _checked(real, made)
    if min(len(real), len(made)) <= neighbours:
        raise ValueError(f"{neighbours} neighbours need more rows than {min(len(real), len(made))}")
    return _share_among(made, real, neighbours), _share_among(real, made, neighbours)


def memorised(training: np.ndarray, made: np.ndarray, groups=None, quantile: float = COPY_QUANTILE) -> dict:
    """Generated rows that are nearer to a training row than training rows of different groups are to each other.

    groups: patient of each training row; None: every row is its own. {"threshold": the quantile of the distances from a
    training row, at most THRESHOLD_ROWS of them, to the nearest one of all of another group; "share": of generated rows
    as near as that, about the quantile for new images of the same distribution; "copies": [(generated row, training
    row, distance)], the nearest first; "distances" float64 [n made] and "nearest" int [n made], of all}. Raises
    ValueError where there is one group only.
    """
    training, made = np.asarray(training), np.asarray(made)
    _assert_comparable(training, made)
    groups = np.arange(len(training)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if len(groups) != len(training) or len(np.unique(groups)) < 2:
        raise ValueError(f"{len(groups)} groups of which {len(np.unique(groups))} differ, for {len(training)} rows")
    asked = np.random.default_rng(0).permutation(len(training))[:THRESHOLD_ROWS]
    _, apart = _nearest(training[asked], training, (groups[asked], groups))
    threshold = float(np.quantile(apart, quantile))
    nearest, distances = _nearest(made, training)
    rows = np.flatnonzero(distances <= threshold)
    rows = rows[np.argsort(distances[rows], kind="stable")]
    return {
        "threshold": threshold,
        "share": len(rows) / len(made),
        "copies": [(int(row), int(nearest[row]), float(distances[row])) for row in rows],
        "distances": distances,
        "nearest": nearest,
    }


def _checked(real: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real, made = np.asarray(real, np.float64), np.asarray(made, np.float64)
    _assert_comparable(real, made)
    return real, made


def _assert_comparable(real: np.ndarray, made: np.ndarray) -> None:
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1] or min(len(real), len(made)) < 2:
        raise ValueError(f"features {real.shape} and {made.shape} must be [n, D] of the same D, at least 2 rows each")
    if not (np.isfinite(real).all() and np.isfinite(made).all()):
        raise ValueError("features are not all finite")


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric root of a symmetric matrix without negative directions."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.clip(values, 0.0, None))) @ vectors.T


def _kernel_sum(a: np.ndarray, b: np.ndarray, diagonal: bool = True) -> float:
    total = 0.0
    for part in _parts(len(a)):
        total += ((a[part] @ b.T / a.shape[1] + 1.0) ** 3).sum()
    if not diagonal:
        total -= (((a * a).sum(axis=1) / a.shape[1] + 1.0) ** 3).sum()
    return float(total)


def _share_among(rows: np.ndarray, others: np.ndarray, neighbours: int) -> float:
    # The nearest row to a row is itself, hence one more.
    radius = np.concatenate(
        [np.partition(cdist(others[part], others), neighbours, axis=1)[:, neighbours] for part in _parts(len(others))]
    )
    inside = [(cdist(rows[part], others) <= radius).any(axis=1) for part in _parts(len(rows))]
    return float(np.concatenate(inside).mean())


def _nearest(rows: np.ndarray, others: np.ndarray, groups: tuple | None = None) -> tuple[np.ndarray, np.ndarray]:
    """For each row the position of, and the distance to, the nearest of the others.

    groups: those of the rows and those of the others, where only others of another group count.
    """
    nearest, distances = np.zeros(len(rows), int), np.full(len(rows), np.inf)
    for part in _parts(len(others)):
        found = cdist(rows, others[part])
        if groups is not None:
            found[groups[0][:, None] == groups[1][None, part]] = np.inf
        closest, least = found.argmin(axis=1), found.min(axis=1)
        closer = least < distances
        nearest[closer], distances[closer] = part.start + closest[closer], least[closer]
    return nearest, distances


def _parts(count: int) -> list[slice]:
    """Slices of a few rows each, so that distances to all others fit into memory."""
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, count, ROWS_AT_ONCE)]

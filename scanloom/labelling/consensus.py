"""One label from several readers of the same images, and how far the readers agree.

Reads are class indices, float `[rows, readers]`, NaN where a reader said nothing.
"""

import numpy as np
import pandas as pd

RULES = ("majority", "any", "unanimous", "mean")
RESAMPLES = 2000
AGREEMENT_TYPES = {
    "label": "str",
    "readers": "int64",
    "rows": "int64",
    "positive_by_reader": "object",
    "any": "float64",
    "majority": "float64",
    "unanimous": "float64",
    "disagree": "int64",
    "kappa": "float64",
    "kappa_low": "float64",
    "kappa_high": "float64",
}


def combine(reads: np.ndarray, classes: int, rule: str) -> tuple[np.ndarray, np.ndarray]:
    """(class index, share of readers who chose class 1), float64 [rows] each; NaN where nobody said anything.

    majority, mean: the class that more than half of those who said anything chose; NaN where there is none (a tie).
    any, unanimous (two classes): 1 if at least one of them, if every one of them said 1, else 0.
    Raises ValueError for an unknown rule, a class that does not exist, and any, unanimous or mean of several classes.
    """
    if rule not in RULES:
        raise ValueError(f"consensus '{rule}' is unknown; known: {', '.join(RULES)}")
    if rule != "majority" and classes != 2:
        raise ValueError(f"consensus '{rule}' needs two classes, not {classes}; use majority")
    counts = class_counts(reads, classes)
    given = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):
        share = counts[:, 1] / given
    if rule in ("majority", "mean"):
        chosen = np.where(2 * counts.max(axis=1) > given, counts.argmax(axis=1), np.nan)
    else:
        chosen = (counts[:, 1] > 0 if rule == "any" else counts[:, 1] == given).astype(float)
    return np.where(given > 0, chosen, np.nan), share


def class_counts(reads: np.ndarray, classes: int) -> np.ndarray:
    """How many readers chose each class, int64 [rows, classes]. Raises ValueError for a class that does not exist."""
    reads = np.asarray(reads, float)
    said = ~np.isnan(reads)
    odd = np.setdiff1d(reads[said], np.arange(classes))
    if len(odd):
        raise ValueError(f"reads hold {', '.join(f'{value:g}' for value in odd[:5])}; classes are 0..{classes - 1}")
    return np.stack([(reads == index).sum(axis=1) for index in range(classes)], axis=1)


def fleiss_kappa(counts: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Agreement beyond chance of n readers: 1 complete, 0 as by chance; NaN where all reads are of one class.

    counts: int [rows, classes], every row summing to the same n >= 2. weights: float [..., rows], how often each row
    counts (bootstrap resamples); null: once. Returns float64 [...].
    kappa = (P - P_e) / (1 - P_e), P the mean over rows of (sum_j n_ij^2 - n) / (n (n - 1)), P_e = sum_j p_j^2, p_j the
    share of all reads in class j: J. L. Fleiss, Measuring nominal scale agreement among many raters, Psychological
    Bulletin 76, 378-382 (1971).
    """
    counts = np.asarray(counts, float)
    readers = counts.sum(axis=1)
    if not len(counts) or readers[0] < 2 or (readers != readers[0]).any():
        raise ValueError("Fleiss' kappa needs rows that were all read by the same number of readers, two at least")
    n = readers[0]
    weights = np.ones(len(counts)) if weights is None else np.asarray(weights, float)
    total = weights.sum(axis=-1)
    agree = weights @ ((counts**2).sum(axis=1) - n) / (n * (n - 1)) / total
    chance = ((weights @ counts / (n * total)[..., None]) ** 2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(1 - chance > 1e-12, (agree - chance) / (1 - chance), np.nan)


def kappa_interval(counts: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> tuple[float, float]:
    """95 % interval of Fleiss' kappa by resampling rows (percentiles; resamples of one class only are left out)."""
    # Rows that were read alike are drawn together: their number, not that of the rows, sets time and memory.
    alike, times = np.unique(counts, axis=0, return_counts=True)
    weights = np.random.default_rng(seed).multinomial(len(counts), times / len(counts), size=resamples)
    values = fleiss_kappa(alike, weights)
    if np.isnan(values).all():
        return np.nan, np.nan
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def agreement_table(reads_of: dict[str, tuple[np.ndarray, int]], seed: int = 0) -> pd.DataFrame:
    """One row per label that several readers gave (AGREEMENT_TYPES).

    reads_of: label -> (reads, number of classes). Rows that some reader left out are not counted: `rows` is the rest.
    positive_by_reader, any, majority, unanimous: rows of class 1, for labels of two classes. disagree: rows on which
    not all readers agree. kappa: Fleiss' with its 95 % interval.
    """
    table = []
    for label, (reads, classes) in reads_of.items():
        complete = reads[~np.isnan(reads).any(axis=1)]
        counts = class_counts(complete, classes)
        row = {"label": label, "readers": reads.shape[1], "rows": len(complete), "positive_by_reader": None}
        row["disagree"] = int((counts.max(axis=1, initial=0) < reads.shape[1]).sum())
        if classes == 2:
            row["positive_by_reader"] = (complete == 1).sum(axis=0).tolist()
            row |= {rule: float(np.nansum(combine(complete, 2, rule)[0])) for rule in ("any", "majority", "unanimous")}
        if len(complete):
            row["kappa"] = float(fleiss_kappa(counts))
            row["kappa_low"], row["kappa_high"] = kappa_interval(counts, seed)
        table.append(row)
    return pd.DataFrame(table, columns=list(AGREEMENT_TYPES)).astype(AGREEMENT_TYPES)

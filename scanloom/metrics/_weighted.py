"""What the metrics share: one prediction vector, many rows of weights.

A bootstrap resample of patients is a row of item weights, so a metric that takes `weights: float [B, n]` gives all B
resamples at once, from one sort of the scores. A row of ones is the plain metric. Every formula equals scikit-learn's
with `sample_weight` (tests/library/metrics), ties included.
"""

from collections.abc import Callable

import numpy as np

BINARY_THRESHOLD = 0.5  # the second class is predicted where p1 is strictly above it


def every_class_present(labels: np.ndarray, classes: int) -> bool:
    """True where each of the classes 0..classes-1 is among the labels."""
    return bool(np.isin(np.arange(classes), labels).all())


def predicted(probabilities: np.ndarray) -> np.ndarray:
    """Predicted class, int [..., n], of probabilities [..., n, K]: p1 > 0.5 for two classes, else the largest."""
    if probabilities.shape[-1] == 2:
        return (probabilities[..., 1] > BINARY_THRESHOLD).astype(int)
    return probabilities.argmax(axis=-1)


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of values [n] under each row of weights [B, n]; NaN where a row weighs nothing."""
    return divide(weights @ np.asarray(values, float), weights.sum(axis=1))


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def one_vs_rest(curve: Callable, labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """curve(scores, positive, weights) of p1 for two classes; the unweighted mean over classes (macro) for more.

    NaN in the rows where some class weighs nothing: a mean over the classes left would be another quantity.
    """
    classes = probabilities.shape[1]
    if classes == 2:
        return curve(probabilities[:, 1], labels == 1, weights)
    return np.mean([curve(probabilities[:, k], labels == k, weights) for k in range(classes)], axis=0)


def area_under_roc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probability that a positive scores above a negative, ties counting half: [B]; NaN without both."""
    order = np.flatnonzero(~positive)[np.argsort(scores[~positive], kind="stable")]
    below = _cumulated(weights[:, order])
    first = np.searchsorted(scores[order], scores[positive], "left")
    last = np.searchsorted(scores[order], scores[positive], "right")
    of_positive = weights[:, positive]
    lower = below[:, first]
    if (first == last).all():  # no ties between the classes
        area = np.einsum("bp,bp->b", of_positive, lower)
    else:
        area = np.einsum("bp,bp->b", of_positive, lower + below[:, last]) / 2
    return divide(area, of_positive.sum(axis=1) * below[:, -1])


def average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum over thresholds of (gain in recall) x precision, no interpolation: [B]; NaN without both classes."""
    order = np.argsort(-scores, kind="stable")
    ranked = positive[order]
    sorted_weights = weights[:, order]
    of_positive = sorted_weights[:, ranked]
    # A threshold takes in a whole group of ties: precision is read at the group's end.
    end = np.searchsorted(-scores[order], -scores[order][ranked], "right")
    all_above = _cumulated(sorted_weights)[:, end]
    true_above = _cumulated(of_positive)[:, np.searchsorted(np.flatnonzero(ranked), end, "left")]
    precision = np.divide(true_above, all_above, out=np.zeros_like(all_above), where=all_above > 0)
    total = of_positive.sum(axis=1)
    result = divide(np.einsum("bp,bp->b", of_positive, precision), total)
    return np.where(sorted_weights.sum(axis=1) > total, result, np.nan)


def _cumulated(weights: np.ndarray) -> np.ndarray:
    """Cumulative sums along the row with a leading 0: float64 [B, n + 1]."""
    sums = np.zeros((weights.shape[0], weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums

"""Average precision: the area under the precision-recall curve as a step function, without interpolation.

Two classes: from p1. More: the unweighted mean of one class against the rest. Its value for chance is the prevalence,
so it may be compared between arms on one test set, never between test sets. Needs every class.
"""

import numpy as np

from scanloom.metrics._weighted import average_precision, every_class_present, one_vs_rest

NAME = "AUPRC"
HIGHER_IS_BETTER = True
RANGE = (0.0, 1.0)
DEFINED = every_class_present


def compute(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUPRC [B] under each row of weights [B, n]; labels int [n], probabilities [n, K]; NaN where a class is gone."""
    return one_vs_rest(average_precision, labels, probabilities, weights)

"""Area under the ROC curve: how often a random positive scores above a random negative (ties count half).

Two classes: from p1. More: the unweighted mean of one class against the rest (macro one-vs-rest). It does not depend
on prevalence or on a threshold, so it is what arms are compared by. Needs every class.
"""

import numpy as np

from scanloom.metrics._weighted import area_under_roc, every_class_present, one_vs_rest

NAME = "AUROC"
HIGHER_IS_BETTER = True
RANGE = (0.0, 1.0)
DEFINED = every_class_present


def compute(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC [B] under each row of weights [B, n]; labels int [n], probabilities [n, K]; NaN where a class is gone."""
    return one_vs_rest(area_under_roc, labels, probabilities, weights)

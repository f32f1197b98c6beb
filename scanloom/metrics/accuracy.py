"""Accuracy: share of items whose predicted class is right.

Predicted is the class of largest probability; of two classes the second where p1 is strictly above 0.5. It moves with
prevalence and with calibration at the same ranking: shown to compare with published tables, not to decide by.
"""

import numpy as np

from scanloom.metrics._weighted import predicted, weighted_mean

NAME = "accuracy"
HIGHER_IS_BETTER = True
RANGE = (0.0, 1.0)


def DEFINED(labels: np.ndarray, classes: int) -> bool:
    """True where there is an item: no class has to be present."""
    return len(labels) > 0


def compute(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Accuracy [B] under each row of weights [B, n]; labels int [n], probabilities [n, K]."""
    return weighted_mean(predicted(probabilities) == labels, weights)

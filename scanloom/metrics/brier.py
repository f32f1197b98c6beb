"""Brier score: mean squared distance between the probabilities and what happened; 0 is perfect, lower is better.

Two classes: mean of (p1 - y)^2, in [0, 1]. More: mean over items of sum_k (p_k - [y = k])^2, in [0, 2] (Brier 1950).
For two classes the sum over classes would be exactly twice the first form; these are scikit-learn's defaults too. It is
a proper score: it rewards ranking and calibration together.
"""

import numpy as np

from scanloom.metrics._weighted import weighted_mean

NAME = "Brier score"
HIGHER_IS_BETTER = False
RANGE = (0.0, 2.0)
RANGE_OF_TWO_CLASSES = (0.0, 1.0)


def DEFINED(labels: np.ndarray, classes: int) -> bool:
    """True where there is an item: no class has to be present."""
    return len(labels) > 0


def compute(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Brier score [B] under each row of weights [B, n]; labels int [n], probabilities [n, K]."""
    if probabilities.shape[1] == 2:
        return weighted_mean((probabilities[:, 1] - labels) ** 2, weights)
    happened = labels[:, None] == np.arange(probabilities.shape[1])
    return weighted_mean(((probabilities - happened) ** 2).sum(axis=1), weights)

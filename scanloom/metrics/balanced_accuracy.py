"""Balanced accuracy: the mean over classes of the share of its items that are predicted right.

The classes count the same however rare. Predicted as in accuracy. A class without items has no share: undefined then
(scikit-learn leaves that class out of the mean, which is another quantity).
"""

import numpy as np

from scanloom.metrics._weighted import divide, every_class_present, predicted

NAME = "balanced accuracy"
HIGHER_IS_BETTER = True
RANGE = (0.0, 1.0)
DEFINED = every_class_present


def compute(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Balanced accuracy [B] under each row of weights [B, n]; labels int [n], probabilities [n, K]."""
    of_class = (labels[:, None] == np.arange(probabilities.shape[1])).astype(float)
    right = of_class * (predicted(probabilities) == labels)[:, None]
    return divide(weights @ right, weights @ of_class).mean(axis=1)

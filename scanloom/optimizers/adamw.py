"""AdamW: steps of one size per weight, weights shrunk apart from the gradient.

Loshchilov & Hutter, ICLR 2019, arXiv 1711.05101, algorithm 2. The default: it needs least tuning in short trainings.
"""

from scanloom.lazy import keras
from scanloom.optimizers._moments import Moments


class Settings(Moments):
    """Moments."""


def make(settings: Settings, weight_decay: float, shared: dict):
    """The optimizer; shared: arguments of every Keras optimizer."""
    return keras.optimizers.AdamW(weight_decay=weight_decay, **settings.model_dump(), **shared)

"""LAMB: Adam's direction, in each layer as long as the layer's weights, for large batches.

    r = m / (sqrt(v) + epsilon) + decay w        w = w - rate |w| / |r| r

You et al., ICLR 2020, arXiv 1904.00962, algorithm 2. Biases and normalisations take Adam's step.
"""

from pydantic import Field

from scanloom.optimizers._moments import Moments


class Settings(Moments):
    """Moments."""

    epsilon: float = Field(1e-6, gt=0, description="added to the root of the latter")


def make(settings: Settings, weight_decay: float, shared: dict):
    """The optimizer; shared: arguments of every Keras optimizer."""
    from scanloom.optimizers._update_rules import Lamb

    return Lamb(weight_decay=weight_decay, **settings.model_dump(), **shared)

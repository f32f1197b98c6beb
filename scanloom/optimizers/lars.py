"""LARS: momentum SGD whose step in each layer is a fixed share of the layer's weights, for large batches.

    local = trust |w| / (|g| + decay |w|)        v = momentum v + rate local (g + decay w)        w = w - v

You, Gitman & Ginsburg, arXiv 1708.03888, algorithm 1. Rates are far larger than AdamW's: Barlow Twins used 0.2 at
batch 2048 and 0.7 at 128 (its issue 7), with thin_rate 0.024; small data sets took trust 0.02 (solo-learn, issue 109).
"""

from pydantic import Field

from scanloom.strict_models import Strict


class Settings(Strict):
    """Momentum and trust."""

    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last step that is taken again")
    trust: float = Field(0.001, gt=0, description="eta: step as a share of the layer's weights, at learning rate 1")
    thin_rate: float = Field(
        1.0, gt=0, description="factor on the learning rate of biases and normalisations, which are not adapted"
    )


def make(settings: Settings, weight_decay: float, shared: dict):
    """The optimizer; shared: arguments of every Keras optimizer."""
    from scanloom.optimizers._update_rules import Lars

    return Lars(weight_decay=weight_decay, **settings.model_dump(), **shared)

"""SGD: the gradient with momentum; decay is L2 in the loss.

At small batches it may do better than LARS (authors of Barlow Twins, github.com/facebookresearch/barlowtwins, issue 7).
"""

from pydantic import Field

from scanloom.strict_models import Strict


class Settings(Strict):
    """Momentum."""

    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last step that is taken again")
    nesterov: bool = Field(False, description="look ahead by the momentum")


def make(settings: Settings, weight_decay: float, shared: dict):
    """The optimizer; shared: arguments of every Keras optimizer."""
    from scanloom.optimizers._update_rules import SGD

    return SGD(weight_decay=weight_decay, **settings.model_dump(), **shared)

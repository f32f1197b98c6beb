"""Adam: steps of one size per weight; decay is L2 in the loss, so it is scaled like every gradient.

Kingma & Ba, ICLR 2015, arXiv 1412.6980, algorithm 1. For published settings that used it; GANs with beta_1 = 0.
"""

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Moments."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    beta_1: float = Field(0.9, ge=0, lt=1, description="decay of the mean gradient; 0 in many GANs")
    beta_2: float = Field(0.999, ge=0, lt=1, description="decay of the mean squared gradient; 0.9 in many GANs")
    epsilon: float = Field(1e-7, gt=0, description="added to the root of the latter")


def make(settings: Settings, weight_decay: float, shared: dict):
    """The optimizer; shared: arguments of every Keras optimizer."""
    from scanloom.optimizers._update_rules import Adam

    return Adam(weight_decay=weight_decay, **settings.model_dump(), **shared)

"""AdamW: steps of one size per weight, weights shrunk apart from the gradient.

Loshchilov & Hutter, ICLR 2019, arXiv 1711.05101, algorithm 2. The default: it needs least tuning in short trainings.
"""

from pydantic import BaseModel, ConfigDict, Field

from scanloom.lazy import keras


class Settings(BaseModel):
    """Moments."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    beta_1: float = Field(0.9, ge=0, lt=1, description="decay of the mean gradient")
    beta_2: float = Field(0.999, ge=0, lt=1, description="decay of the mean squared gradient")
    epsilon: float = Field(1e-7, gt=0, description="added to the root of the latter")


def make(settings: Settings, weight_decay: float, shared: dict):
    """The optimizer; shared: arguments of every Keras optimizer."""
    return keras.optimizers.AdamW(weight_decay=weight_decay, **settings.model_dump(), **shared)

"""Settings that Adam and what was made of it share."""

from pydantic import Field

from scanloom.strict_models import Strict


class Moments(Strict):
    """Moments."""

    beta_1: float = Field(0.9, ge=0, lt=1, description="decay of the mean gradient; 0 in many GANs")
    beta_2: float = Field(0.999, ge=0, lt=1, description="decay of the mean squared gradient; 0.9 in many GANs")
    epsilon: float = Field(1e-7, gt=0, description="added to the root of the latter")

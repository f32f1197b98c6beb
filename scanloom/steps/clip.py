"""Values below a lower bound become that bound, values above an upper one become that; nothing is scaled.

    value = min(max(value, low), high)

Bounds are physical values (HU, grey levels, ...), whatever scaling came before. Metal in CT and hot pixels in MR then
no longer set the scale of later steps.
"""

from dataclasses import replace

import numpy as np
from pydantic import Field, model_validator

from scanloom.readers._volume import Volume
from scanloom.strict_models import Strict

IDEMPOTENT = True


class Settings(Strict):
    """The bounds; at least one."""

    low: float | None = Field(None, description="lower bound, in the unit of the images; null: none")
    high: float | None = Field(None, description="upper bound, in the unit of the images; null: none")

    @model_validator(mode="after")
    def _some_interval(self):
        if self.low is None and self.high is None:
            raise ValueError("clip without low and high does nothing; give at least one")
        if None not in (self.low, self.high) and not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with values between the bounds; unit, slope and intercept stay."""
    slope, intercept = np.array(volume.slope), np.array(volume.intercept)
    low, high = (
        None if bound is None else ((bound - intercept) / slope).astype(np.float32)
        for bound in (settings.low, settings.high)
    )
    made = volume.room()
    np.clip(volume.with_channels(), low, high, out=made if made.ndim == 4 else made[..., np.newaxis])
    return replace(volume, values=made)


def slicewise(settings: Settings) -> bool:
    """Every slice is clipped by itself."""
    return True

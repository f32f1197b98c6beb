"""A fixed interval of values becomes 0 to 1, the same one in every image: grey levels 0 to 255, for example.

    value = (value - low) / (high - low), clipped to [0, 1]

low and high are values as the step gets them: after a step that maps to [0, 1], they lie there too.
"""

from pydantic import Field, model_validator

from scanloom.readers._volume import Volume
from scanloom.steps._scale import scaled
from scanloom.strict_models import Strict


class Settings(Strict):
    """The interval, in the unit of the images."""

    low: float = Field(0.0, description="value that becomes 0; smaller ones are clipped")
    high: float = Field(255.0, description="value that becomes 1; larger ones are clipped")

    @model_validator(mode="after")
    def _not_empty(self):
        if not self.low < self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        return self


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with values in [0, 1]."""
    count = len(volume.channels)
    return scaled(volume, [settings.low] * count, [settings.high] * count)


def slicewise(settings: Settings) -> bool:
    """Every slice is scaled by itself."""
    return True

"""Two percentiles of a series' values, per channel, become 0 and 1; what lies beyond is clipped.

    value = (value - q_low) / (q_high - q_low), clipped to [0, 1]

q: percentiles with linear interpolation between ranks. For images whose values have no common unit (MR). Taken over the
whole series, never slice by slice, so slices of one stack stay comparable. With a foreground, the share of air in the
picture does not move the scale.
"""

from pydantic import Field, model_validator

from scanloom.readers._volume import Volume
from scanloom.steps._foreground import Foreground, foreground
from scanloom.steps._inside import inside
from scanloom.steps._scale import scaled
from scanloom.strict_models import Strict


class Settings(Strict):
    """Which percentiles, of what."""

    low_percent: float = Field(0.5, ge=0, lt=100, description="percentile that becomes 0")
    high_percent: float = Field(99.5, gt=0, le=100, description="percentile that becomes 1")
    foreground: Foreground = Field(
        "all", description="all (inside the field of view) | otsu | a number: what is above it"
    )

    @model_validator(mode="after")
    def _not_empty(self):
        if not self.low_percent < self.high_percent:
            raise ValueError(f"low_percent ({self.low_percent:g}) must be below high_percent ({self.high_percent:g})")
        return self


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with values in [0, 1]; padding does not count, a constant channel becomes 0."""
    mask = None if settings.foreground == "all" else foreground(volume, settings.foreground)
    percents = [settings.low_percent, settings.high_percent]
    return scaled(volume, *zip(*(values.percentiles(percents) for values in inside(volume, mask)), strict=True))

"""The smallest to the largest value, per channel, become 0 to 1: of each series, or the same two in the whole dataset.

    value = (value - low) / (high - low), clipped to [0, 1]

`over: volume` takes low and high from the series itself, padding left out. For values without a common unit (MR); one
bright pixel sets the scale, so `percentile` is usually better. `over: dataset` takes the same two numbers for every
image, so that a value means the same everywhere. They stand in the settings, or follow from the unit: -1024 to 3071 for
HU (12 bits), 0 to 255 for pictures. They are never searched in the images: that would need a second pass, and one new
patient would change every image. The report's contact sheet shows the values of a sample.
"""

from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from scanloom.readers._volume import Volume
from scanloom.steps._inside import inside
from scanloom.steps._scale import scaled
from scanloom.strict_models import Strict

RANGES = {"HU": (-1024.0, 3071.0), "0-255": (0.0, 255.0)}  # what an image of that unit can hold


class Settings(Strict):
    """Whose smallest and largest value."""

    over: Literal["volume", "dataset"] = Field("volume", description="each series by itself, or all alike")
    low: float | list[float] | None = Field(
        None, description="over dataset: value that becomes 0, one for all channels or a list; null: by the unit"
    )
    high: float | list[float] | None = Field(
        None, description="over dataset: value that becomes 1, one for all channels or a list; null: by the unit"
    )

    @model_validator(mode="after")
    def _fits(self):
        if (self.low is None) != (self.high is None):
            raise ValueError("give both low and high, or neither")
        if self.over == "volume" and self.low is not None:
            raise ValueError("low and high belong to over: dataset; a volume has its own")
        if self.low is not None:
            low, high = ([bound] if isinstance(bound, float) else bound for bound in (self.low, self.high))
            if len(low) != len(high):
                raise ValueError(f"{len(low)} lows and {len(high)} highs; give one of each per channel")
            for a, b in zip(low, high, strict=True):
                if not a < b:
                    raise ValueError(f"low ({a:g}) must be below high ({b:g})")
        return self


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with values in [0, 1]; a constant channel becomes 0."""
    if settings.over == "volume":
        return scaled(volume, *zip(*(values.extremes() for values in inside(volume)), strict=True))
    low, high = (np.array(bound) for bound in _bounds(volume, settings))
    slope, intercept = np.array(volume.slope), np.array(volume.intercept)
    return scaled(volume, (low - intercept) / slope, (high - intercept) / slope)


def _bounds(volume: Volume, settings: Settings) -> tuple[list[float], list[float]]:
    """Low and high of each channel, physical values."""
    if settings.low is None and volume.unit not in RANGES:
        raise ValueError(
            f"min_max over the dataset: unit '{volume.unit}' has no natural range; give low and high, or use "
            "percentile or min_max over: volume"
        )
    low, high = RANGES[volume.unit] if settings.low is None else (settings.low, settings.high)
    count = len(volume.channels)
    low, high = ([bound] * count if isinstance(bound, float) else bound for bound in (low, high))
    if len(low) != count:
        raise ValueError(
            f"min_max: {len(low)} values of low and high for {count} channels {volume.channels}; give one per channel"
        )
    return low, high


def slicewise(settings: Settings) -> bool:
    """With one range for the dataset, every slice is scaled by itself."""
    return settings.over == "dataset"

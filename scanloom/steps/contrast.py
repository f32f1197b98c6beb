"""Grey levels pushed away from their mean, as Pillow's ImageEnhance.Contrast does.

    p' = m + factor (p - m), clipped to 0 to 255      m: mean grey level, rounded

m is the mean of the whole series, so that slices of one stack stay comparable; padding does not count. Of red, green
and blue there is one m, their luma (299 R + 587 G + 114 B) / 1000; other channels (windows) have one each. Above 1
the contrast grows, between 0 and 1 it shrinks. The mapping is linear, so slope and intercept still lead back to
physical values where nothing was clipped.
"""

import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume
from scanloom.steps._grey_levels import largest_value
from scanloom.steps._inside import inside
from scanloom.steps._scale import scaled
from scanloom.strict_models import Strict

COLOURS = ("red", "green", "blue")
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


class Settings(Strict):
    """How strong."""

    factor: float = Field(4.0, gt=0, le=10, description="distance from the mean is multiplied by this")


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with values in [0, 1]."""
    largest = largest_value(volume, "contrast")
    means = np.array([values.mean() for values in inside(volume)])
    if volume.channels == COLOURS:
        means = np.full(3, means @ LUMA)
    means = np.floor(means * 255 / largest + 0.5) * largest / 255
    return scaled(volume, means - means / settings.factor, means + (largest - means) / settings.factor)

"""Mean and standard deviation of the foreground, per channel, set the scale: for MR, whose values have no common unit.

    z     = (value - mean) / sd            mean, sd over the foreground of the whole series (sd with divisor n)
    value = (min(max(z, -limit), limit) + limit) / (2 limit)

so z = 0 becomes 0.5 and z = +-limit become 0 and 1: images are stored as integers, which need two ends. Slope
2 limit sd and intercept mean - limit sd lead back to the original values. The background is scaled along with the rest.
A constant foreground becomes 0.
"""

import cv2
import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume
from scanloom.steps._foreground import Foreground, foreground
from scanloom.steps._scale import scaled
from scanloom.strict_models import Strict


class Settings(Strict):
    """What counts as foreground, and where z is cut."""

    foreground: Foreground = Field(
        "otsu", description="otsu | all (inside the field of view) | a number: what is above it, 0 for stripped brains"
    )
    limit: float = Field(4.0, gt=0, le=20, description="z beyond which values are clipped, in standard deviations")


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with values in [0, 1], 0.5 at the foreground's mean."""
    mask = foreground(volume, settings.foreground).reshape(volume.slices, -1).view(np.uint8)
    channels = np.moveaxis(volume.with_channels(), -1, 0).reshape(-1, *mask.shape)
    mean, sd = np.array([cv2.meanStdDev(channel, mask=mask) for channel in channels])[..., 0, 0].T
    return scaled(volume, mean - settings.limit * sd, mean + settings.limit * sd)

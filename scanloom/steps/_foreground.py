"""Which pixels show something: those above a threshold, or all inside the field of view."""

from typing import Literal

import cv2
import numpy as np

from scanloom.readers._volume import Volume
from scanloom.steps._inside import Inside, field_of_view, inside

Threshold = Literal["otsu"] | float  # "otsu", or a physical value (HU, grey level, ...)
Foreground = Literal["all", "otsu"] | float  # "all": everything inside the field of view


def otsu_threshold(values: Inside) -> float:
    """The threshold that splits the values into two classes with the largest variance between them.

    Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62-66, on 256 levels from the smallest to the largest value; what is
    above it is foreground. A constant image has no such threshold: its value is given, so that nothing is above it.
    """
    low, high = values.extremes()
    if not high > low:
        return low
    scale = 255 / (high - low)
    levels, end = np.empty(values.count(), np.uint8), 0
    for plane in values:
        start, end = end, end + plane.size
        cv2.convertScaleAbs(plane - np.float32(low), levels[start:end], alpha=scale)
    level, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return low + (level + 0.5) / 255 * (high - low)


def above(volume: Volume, threshold: Threshold) -> np.ndarray:
    """bool [z, y, x]: inside the field of view and above the threshold in at least one channel.

    A number is a physical value, whatever scaling came before; "otsu" is found for each channel by itself.
    """
    if threshold == "otsu":
        limits = [otsu_threshold(values) for values in inside(volume)]
    else:
        limits = ((threshold - np.array(volume.intercept)) / np.array(volume.slope)).astype(np.float32)
    mask = np.zeros(volume.values.shape[:3], bool)
    for channel, limit in zip(np.moveaxis(volume.with_channels(), -1, 0), limits, strict=True):
        for plane, found in zip(channel, mask, strict=True):
            found |= plane > limit
    seen = field_of_view(volume)
    return mask if seen is None else np.logical_and(mask, seen, out=mask)


def foreground(volume: Volume, rule: Foreground) -> np.ndarray:
    """bool [z, y, x], never empty: where nothing is above the threshold, everything inside the field of view."""
    if rule != "all":
        mask = above(volume, rule)
        if mask.any():
            return mask
    seen = field_of_view(volume)
    return np.ones(volume.values.shape[:3], bool) if seen is None else seen

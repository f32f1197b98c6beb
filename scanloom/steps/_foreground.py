"""Which pixels show something: those above a threshold, or all inside the field of view."""

from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume

Finite = Annotated[float, Field(allow_inf_nan=False)]
Threshold = Literal["otsu"] | Finite  # "otsu", or a physical value (HU, grey level, ...)
Foreground = Literal["all", "otsu"] | Finite  # "all": everything inside the field of view


def otsu_threshold(values: np.ndarray) -> float:
    """The threshold that splits `values` (float32, any shape) into two classes with the largest variance between them.

    Otsu, IEEE Trans. Syst. Man Cybern. 9 (1979) 62-66, on 256 levels from the smallest to the largest value; what is
    above it is foreground. A constant array has no such threshold: its value is given, so that nothing is above it.
    """
    low, high = float(values.min()), float(values.max())
    if not high > low:
        return low
    levels = cv2.convertScaleAbs(values.reshape(len(values), -1) - np.float32(low), alpha=255 / (high - low))
    level, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return low + (level + 0.5) / 255 * (high - low)


def above(volume: Volume, threshold: Threshold) -> np.ndarray:
    """bool [z, y, x]: inside the field of view and above the threshold in at least one channel.

    A number is a physical value, whatever scaling came before; "otsu" is found for each channel by itself.
    """
    seen = _field_of_view(volume)
    mask = np.zeros(volume.values.shape[:3], bool)
    for channel, slope, intercept in zip(
        np.moveaxis(volume.with_channels(), -1, 0), volume.slope, volume.intercept, strict=True
    ):
        if threshold == "otsu":
            mask |= channel > otsu_threshold(channel if seen is None else channel[seen])
        else:
            mask |= channel > np.float32((threshold - intercept) / slope)
    return mask if seen is None else mask & seen


def foreground(volume: Volume, rule: Foreground) -> np.ndarray:
    """bool [z, y, x], never empty: where nothing is above the threshold, everything inside the field of view."""
    if rule != "all":
        mask = above(volume, rule)
        if mask.any():
            return mask
    seen = _field_of_view(volume)
    return np.ones(volume.values.shape[:3], bool) if seen is None else seen


def _field_of_view(volume: Volume) -> np.ndarray | None:
    """bool [z, y, x]; None where all pixels count: without padding, or where there is nothing but padding."""
    padding = volume.padding_mask
    return None if padding is None or padding.all() else ~padding

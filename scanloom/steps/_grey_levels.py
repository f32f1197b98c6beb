"""Values as the 256 grey levels that picture filters are defined on, and back."""

from dataclasses import replace

import numpy as np

from scanloom.readers._volume import Volume
from scanloom.steps._scale import is_scaled


def largest_value(volume: Volume, step: str) -> float:
    """The value of grey level 255: 1 after a step that maps to [0, 1], 255 for pictures as read.

    Raises ValueError, naming `step`, for values that have no grey levels yet.
    """
    if is_scaled(volume):
        return 1.0
    if volume.unit == "0-255":
        return 255.0
    raise ValueError(
        f"{step} works on grey levels, but the series has values in unit '{volume.unit}'; map them to [0, 1] before it "
        "(hu_window, percentile, scale_range)"
    )


def to_levels(volume: Volume, step: str) -> np.ndarray:
    """uint8 [z, y, x, c]: p = round(255 value) of values in [0, 1], round(value) of pictures as read."""
    scale = np.float32(255 / largest_value(volume, step))
    return np.rint(np.clip(volume.with_channels() * scale, 0, 255)).astype(np.uint8)


def with_levels(volume: Volume, levels: np.ndarray, step: str) -> Volume:
    """The volume showing `levels` (uint8 [z, y, x, c]) in its own scale; slope and intercept stay."""
    values = levels.astype(np.float32) * np.float32(largest_value(volume, step) / 255)
    return replace(volume, values=values.reshape(volume.values.shape))

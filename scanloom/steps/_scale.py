"""Values between two bounds mapped to [0, 1], with the way back kept in slope and intercept."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scanloom.readers._volume import Volume

SCALED = "0-1"  # unit of values for which the bounds were 0 and 1 themselves


def scaled(volume: Volume, low: Sequence[float], high: Sequence[float]) -> Volume:
    """low, high: one bound per channel, in the volume's present values. Where they are equal everything becomes 0."""
    low, high = np.array(low, np.float64), np.array(high, np.float64)
    width = np.where(high > low, high - low, 1.0)
    made = volume.room()
    values = made if made.ndim == 4 else made[..., np.newaxis]
    np.subtract(volume.with_channels(), low.astype(np.float32), out=values)
    values /= width.astype(np.float32)
    np.clip(values, 0, 1, out=values)
    slope, intercept = np.array(volume.slope), np.array(volume.intercept)
    slope, intercept = slope * width, slope * low + intercept
    return replace(
        volume,
        values=made,
        unit=SCALED if (slope == 1).all() and (intercept == 0).all() else volume.unit,
        slope=tuple(slope.tolist()),
        intercept=tuple(intercept.tolist()),
    )


def is_scaled(volume: Volume) -> bool:
    """Whether a step has mapped the values to [0, 1]."""
    identity = all(slope == 1 for slope in volume.slope) and all(intercept == 0 for intercept in volume.intercept)
    return volume.unit == SCALED or not identity

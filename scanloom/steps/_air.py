"""The value of nothing, and volumes with parts replaced by it."""

from dataclasses import replace

import numpy as np

from scanloom.readers._volume import Volume
from scanloom.steps._scale import is_scaled

AIR_HU = -1024.0


def air(volume: Volume) -> float:
    """-1024 HU in CT, the lower end of scaled values, else the series' lowest value."""
    if is_scaled(volume):
        return 0.0
    return AIR_HU if volume.unit == "HU" else float(volume.values.min())


def without(volume: Volume, outside: np.ndarray) -> Volume:
    """The volume with air, and padding, where `outside` bool [z, y, x] is true."""
    values, nothing = volume.room(), np.float32(air(volume))
    if values is not volume.values:
        np.copyto(values, volume.values)
    values[outside] = nothing
    padding = outside if volume.padding_mask is None else outside | volume.padding_mask
    return replace(volume, values=values, padding_mask=padding)

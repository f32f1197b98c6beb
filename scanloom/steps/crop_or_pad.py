"""The same number of pixels in every image without changing their distance: borders are cut off or filled, centred.

New pixels are air: -1024 HU in CT, the lower end of an already windowed image, else the series' lowest value.
"""

from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from scanloom.readers._volume import Volume
from scanloom.steps._scale import is_scaled
from scanloom.steps._size import SizePx, sizes_of

AIR_HU = -1024.0


class Settings(BaseModel):
    """The size wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_px: SizePx = Field(description="[y, x], slices kept; or [z, y, x]")
    fill: float | None = Field(None, description="value of new pixels; null: air, or the lowest value")


def _fill(volume: Volume, settings: Settings) -> float:
    if settings.fill is not None:
        return settings.fill
    if is_scaled(volume):
        return 0.0
    return AIR_HU if volume.unit == "HU" else float(volume.values.min())


def _fitted(array: np.ndarray, sizes: list[int], fill) -> np.ndarray:
    """The array's first three axes cut or filled to `sizes`; of an odd difference the smaller part comes first."""
    for axis, size in enumerate(sizes):
        extra = size - array.shape[axis]
        if extra < 0:
            array = np.take(array, np.arange(-extra // 2, -extra // 2 + size), axis)
        elif extra:
            widths = [(0, 0)] * array.ndim
            widths[axis] = (extra // 2, extra - extra // 2)
            array = np.pad(array, widths, constant_values=fill)
    return array


def _changed(volume: Volume, settings: Settings, fill: float) -> Volume:
    sizes = sizes_of(volume, settings.size_px)
    padding = volume.padding_mask
    return replace(
        volume,
        values=_fitted(volume.values, sizes, np.float32(fill)),
        padding_mask=None if padding is None else _fitted(padding, sizes, True),
        slice_index=_fitted(volume.slice_index, sizes[:1], -1),
    )


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume at the size asked for."""
    return _changed(volume, settings, _fill(volume, settings))


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask cut and filled the same way; new pixels are outside."""
    return _changed(mask, settings, 0.0)

"""The same number of pixels in every image without changing their distance: borders are cut off or filled, centred.

New pixels are air: -1024 HU in CT, the lower end of an already windowed image, else the series' lowest value.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from scanloom.geometry import affine_on_grid
from scanloom.readers._volume import Volume
from scanloom.steps._air import air
from scanloom.steps._scale import is_scaled
from scanloom.steps._size import SizePx, sizes_of
from scanloom.strict_models import Strict


class Settings(Strict):
    """The size wanted."""

    size_px: SizePx = Field(description="[y, x], slices kept; or [z, y, x]")
    fill: float | None = Field(None, description="value of new pixels; null: air, or the lowest value")


def _fill(volume: Volume, settings: Settings) -> float:
    return air(volume) if settings.fill is None else settings.fill


def _start(have: int, wanted: int) -> int:
    """Where on the old axis the new one begins; of an odd difference the smaller part comes first."""
    return (have - wanted) // 2 if wanted < have else -((wanted - have) // 2)


def kept(volume: Volume, shape: Sequence[int | None], settings: Settings) -> tuple[slice, slice, slice]:
    """Which pixels along z, y, x of a volume made `shape` are left: all that the step before needs to make.

    All of them where new pixels get the lowest value of what was cut off, too. A size of None is not known.
    """
    sizes = [*shape[: 3 - len(settings.size_px)], *settings.size_px]
    fill_is_given = settings.fill is not None or is_scaled(volume) or volume.unit == "HU"
    grows = any(size != have and (have is None or size > have) for size, have in zip(sizes, shape, strict=True))
    if grows and not fill_is_given:
        return slice(None), slice(None), slice(None)
    parts = []
    for have, size in zip(shape, sizes, strict=True):
        start = 0 if have is None else max(_start(have, size), 0)
        parts.append(slice(None) if have is None else slice(start, start + min(have, size)))
    return tuple(parts)


def _fitted(array: np.ndarray, sizes: list[int], fill) -> np.ndarray:
    """The array's first axes cut or filled to `sizes`."""
    kept, widths = [slice(None)] * array.ndim, [(0, 0)] * array.ndim
    for axis, size in enumerate(sizes):
        have = array.shape[axis]
        start = _start(have, size)
        kept[axis] = slice(max(start, 0), max(start, 0) + min(have, size))
        widths[axis] = (max(-start, 0), size - min(have, size) - max(-start, 0))
    array = array[tuple(kept)]
    return np.pad(array, widths, constant_values=fill) if any(sum(width) for width in widths) else array.copy()


def _changed(volume: Volume, settings: Settings, fill: float) -> Volume:
    sizes = sizes_of(volume, settings.size_px)
    padding = volume.padding_mask
    first = [_start(*size) for size in zip(volume.values.shape[:3], sizes, strict=True)]
    return replace(
        volume,
        values=_fitted(volume.values, sizes, np.float32(fill)),
        padding_mask=None if padding is None else _fitted(padding, sizes, True),
        slice_index=_fitted(volume.slice_index, sizes[:1], -1),
        affine_lps=affine_on_grid(volume.affine_lps, first, (1, 1, 1)),
    )


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume at the size asked for."""
    return _changed(volume, settings, _fill(volume, settings))


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask cut and filled the same way; new pixels are outside."""
    return _changed(mask, settings, 0.0)

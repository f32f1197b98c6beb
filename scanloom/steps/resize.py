"""The same number of pixels in every image; what the image shows is stretched to fit.

Shrinking averages over the area of each new pixel (as OpenCV's INTER_AREA), growing interpolates linearly. To keep
proportions, `resample` to one spacing and `crop_or_pad` instead.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume
from scanloom.steps._regrid import on_grid, regrid, regrid_nearest
from scanloom.steps._size import SizePx, sizes_of
from scanloom.strict_models import Strict


class Settings(Strict):
    """The size wanted."""

    size_px: SizePx = Field(description="[y, x], slices kept; or [z, y, x]")


def _grid(volume: Volume, settings: Settings) -> tuple[list[int], list[float]]:
    sizes = sizes_of(volume, settings.size_px)
    return sizes, [have / size for have, size in zip(volume.values.shape[:3], sizes, strict=True)]


def slicewise(settings: Settings) -> bool:
    """Whether every slice is resized by itself."""
    return len(settings.size_px) == 2


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume at the size asked for."""
    sizes, steps = _grid(volume, settings)
    fill = _filling(volume.values.shape[1:3], sizes[1:])
    if sizes[0] != volume.slices or fill is None:
        return regrid(volume, sizes, steps)
    return on_grid(volume, _in_plane(volume.values, sizes[1:], fill), sizes, steps)


def of_slices(shape: tuple[int, int], settings: Settings) -> tuple[tuple[int, int], Callable] | None:
    """`apply` for one slice after the other, as readers.EarlyStep wants it; None where it takes whole volumes."""
    size = tuple(settings.size_px)
    fill = _filling(shape, size) if len(size) == 2 else None
    return None if fill is None else (size, fill)


def placed(volume: Volume, values: np.ndarray, settings: Settings) -> Volume:
    """The volume as `apply` gives it, its slices resized already."""
    return on_grid(volume, values, *_grid(volume, settings))


def _filling(shape: tuple[int, int], size: Sequence[int]) -> Callable[[np.ndarray, np.ndarray], None] | None:
    """A function that fills a slice of `size` (y, x) from one of `shape`; None where regrid is to do it.

    The same weights as regrid's; a tenth of its time where the ratio is a whole number.
    """
    shrinks = all(have >= new for have, new in zip(shape, size, strict=True))
    grows = all(have <= new for have, new in zip(shape, size, strict=True))
    if shrinks == grows:  # neither, or the size it has
        return None
    columns_first, interpolation = tuple(size[::-1]), cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR

    def fill(plane: np.ndarray, out: np.ndarray) -> None:
        cv2.resize(plane, columns_first, out, interpolation=interpolation)

    return fill


def _in_plane(values: np.ndarray, size: list[int], fill: Callable) -> np.ndarray:
    """float32 `[z, y, x]` or `[z, y, x, c]` with slices of `size` (y, x)."""
    if values.ndim == 4:
        planes = [_in_plane(values[..., channel], size, fill) for channel in range(values.shape[3])]
        return np.moveaxis(np.stack(planes), 0, -1)
    resized = np.empty((len(values), *size), np.float32)
    for plane, out in zip(values, resized, strict=True):
        fill(plane, out)
    return resized


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask on the same new grid."""
    return regrid_nearest(mask, *_grid(mask, settings))

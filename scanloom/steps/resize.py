"""The same number of pixels in every image; what the image shows is stretched to fit.

Shrinking averages over the area of each new pixel (as OpenCV's INTER_AREA), growing interpolates linearly. To keep
proportions, `resample` to one spacing and `crop_or_pad` instead.
"""

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from scanloom.readers._volume import Volume
from scanloom.steps._regrid import on_grid, regrid, regrid_nearest
from scanloom.steps._size import SizePx, sizes_of


class Settings(BaseModel):
    """The size wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
    shrinks, grows = max(steps[1:]) >= 1 <= min(steps[1:]), max(steps[1:]) <= 1 >= min(steps[1:])
    if sizes[0] != volume.slices or not (shrinks or grows) or steps[1] == steps[2] == 1:
        return regrid(volume, sizes, steps)
    # The same weights as regrid's; a tenth of its time where the ratio is a whole number.
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return on_grid(volume, _in_plane(volume.values, sizes[1:], interpolation), sizes, steps)


def _in_plane(values: np.ndarray, size: list[int], interpolation: int) -> np.ndarray:
    """float32 `[z, y, x]` or `[z, y, x, c]` with slices of `size` (y, x)."""
    if values.ndim == 4:
        planes = [_in_plane(values[..., channel], size, interpolation) for channel in range(values.shape[3])]
        return np.moveaxis(np.stack(planes), 0, -1)
    resized = np.empty((len(values), *size), np.float32)
    for plane, out in zip(values, resized, strict=True):
        cv2.resize(plane, size[::-1], out, interpolation=interpolation)
    return resized


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask on the same new grid."""
    return regrid_nearest(mask, *_grid(mask, settings))

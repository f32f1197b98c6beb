"""The same number of pixels in every image; what the image shows is stretched to fit.

Shrinking averages over the area of each new pixel (as OpenCV's INTER_AREA), growing interpolates linearly. To keep
proportions, `resample` to one spacing and `crop_or_pad` instead.
"""

from pydantic import BaseModel, ConfigDict, Field

from scanloom.readers._volume import Volume
from scanloom.steps._regrid import regrid, regrid_nearest
from scanloom.steps._size import SizePx, sizes_of


class Settings(BaseModel):
    """The size wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_px: SizePx = Field(description="[y, x], slices kept; or [z, y, x]")


def _grid(volume: Volume, settings: Settings) -> tuple[list[int], list[float]]:
    sizes = sizes_of(volume, settings.size_px)
    return sizes, [have / size for have, size in zip(volume.values.shape[:3], sizes, strict=True)]


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume at the size asked for."""
    return regrid(volume, *_grid(volume, settings))


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask on the same new grid."""
    return regrid_nearest(mask, *_grid(mask, settings))

"""The same distance between pixels in every image: smooth resampling to a given spacing.

For thick slices leave z alone (null): values between slices 5 mm apart would be invented. Linear where the grid gets
finer, averaging where it gets coarser; the centre of the volume stays where it is.
"""

import math

from pydantic import BaseModel, ConfigDict, Field, field_validator

from scanloom.readers._volume import Volume
from scanloom.steps._regrid import regrid, regrid_nearest


class Settings(BaseModel):
    """The spacing wanted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spacing_mm: tuple[float | None, float | None, float | None] = Field(
        description="distance of pixels along z, y, x in mm; null keeps an axis as it is"
    )

    @field_validator("spacing_mm")
    @classmethod
    def _positive(cls, spacing_mm):
        if any(mm is not None and not mm > 0 for mm in spacing_mm):
            raise ValueError(f"spacing must be > 0 mm or null; got {list(spacing_mm)}")
        return spacing_mm


def _grid(volume: Volume, settings: Settings) -> tuple[list[int], list[float]]:
    sizes, steps = [], []
    for axis, have, wanted in zip("zyx", volume.spacing_mm, settings.spacing_mm, strict=True):
        if wanted is not None and not have > 0:
            raise ValueError(
                f"resample: the spacing along {axis} is not known (a single slice, or a picture without scale); set it "
                "to null, or use resize"
            )
        step = 1.0 if wanted is None or math.isclose(wanted, have, rel_tol=1e-4) else wanted / have
        n = volume.values.shape[len(sizes)]
        sizes.append(max(1, round(n / step)))
        steps.append(step)
    return sizes, steps


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume at the spacing asked for; round(extent / spacing) pixels per axis."""
    return regrid(volume, *_grid(volume, settings))


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask on the same new grid."""
    return regrid_nearest(mask, *_grid(mask, settings))

"""The same distance between pixels in every image: smooth resampling to a given spacing.

For thick slices leave z alone (null): values between slices 5 mm apart would be invented. Linear where the grid gets
finer, averaging where it gets coarser; the centre of the volume stays where it is.
"""

import math
from collections.abc import Callable, Sequence

from pydantic import Field, field_validator

from scanloom.readers._volume import Volume
from scanloom.steps._regrid import regrid, regrid_nearest, used
from scanloom.strict_models import Strict


class Settings(Strict):
    """The spacing wanted."""

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
        sizes.append(_size(n, step))
        steps.append(step)
    return sizes, steps


def _size(n: int, step: float) -> int:
    return max(1, round(n / step))


def slicewise(settings: Settings) -> bool:
    """Whether every slice is resampled by itself."""
    return settings.spacing_mm[0] is None


def in_plane_part(settings: Settings) -> tuple[dict | None, dict | None]:
    """Settings of the same step within slices, and along z; None where nothing is to be done."""
    z, y, x = settings.spacing_mm
    plane = None if (y, x) == (None, None) else {"spacing_mm": [None, y, x]}
    return plane, None if z is None else {"spacing_mm": [z, None, None]}


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume at the spacing asked for; round(extent / spacing) pixels per axis."""
    return regrid(volume, *_grid(volume, settings))


def apply_part(volume: Volume, settings: Settings, kept: Callable[[Sequence[int]], Sequence[slice]]) -> Volume:
    """`apply`, of which only the pixels `kept(shape)` along z, y, x are made, from the old ones that count for them."""
    sizes, steps = _grid(volume, settings)
    return regrid(volume, sizes, steps, kept(sizes))


def needed(volume: Volume, settings: Settings, kept: Callable[[Sequence[int]], Sequence[slice]]) -> list[slice]:
    """The old pixels along z, y, x that `apply_part` looks at; along z with as many left out above as below.

    So the centre stays, and the step gives the same to the shorter stack: the number of its slices is reduced by an
    even number, for new slices to lie where they did.
    """
    sizes, steps = _grid(volume, settings)
    parts = kept(sizes)
    z, y, x = used(volume.values.shape, sizes, steps, parts)
    enough = len(range(sizes[0])[parts[0]])
    for less in range(min(z.start, volume.slices - z.stop), 0, -1):
        fewer = _size(volume.slices - 2 * less, steps[0])
        if (sizes[0] - fewer) % 2 == 0 and fewer >= enough:
            return [slice(less, volume.slices - less), y, x]
    return [slice(0, volume.slices), y, x]


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask on the same new grid."""
    return regrid_nearest(mask, *_grid(mask, settings))

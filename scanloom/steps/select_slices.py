"""Fewer slices per stack: a part of it by normalised height, the central part of that, or every n-th.

Neighbouring slices say nearly the same, and the ends of a stack often show no anatomy. What is left keeps its slice
number, so every dropped slice is accounted for. A slice at z mm has the height (z - first) / (last - first), which is
k / (n - 1) for slice k of n at equal distances, a single slice 0; a range holds what is at its lower end and not what
is at its upper end, except at 1, so thirds share no slice and lose none.
"""

from dataclasses import replace

import numpy as np
from pydantic import Field, field_validator

from scanloom.geometry import affine_on_grid
from scanloom.readers._volume import Volume
from scanloom.strict_models import Strict


class Settings(Strict):
    """Which slices stay."""

    z_range: tuple[float, float] = Field(
        (0.0, 1.0), description="part kept by height: 0 first slice of the stack, 1 last; thirds: [0.3333, 0.6667] ..."
    )
    every: int = Field(1, ge=1, description="keep every n-th slice of the central part, counted from its middle")
    central_share: float = Field(1.0, gt=0, le=1, description="share of that part that is kept around its middle")

    @field_validator("z_range")
    @classmethod
    def _in_order(cls, z_range: tuple[float, float]) -> tuple[float, float]:
        low, high = z_range
        if not 0 <= low < high <= 1:
            raise ValueError(f"expected 0 <= low < high <= 1; got {list(z_range)}")
        return z_range


def _kept(places: np.ndarray, settings: Settings) -> np.ndarray:
    (low, high), slices = settings.z_range, len(places)
    height = np.zeros(1) if slices == 1 else places / places[-1]
    part = np.flatnonzero((height >= low) & ((height < high) | (high == 1)))
    if not len(part):
        raise ValueError(
            f"select_slices: none of {slices} slices has a height from {low:g} to {high:g}; widen z_range, or set "
            "min_slices to leave short series out"
        )
    count = max(1, round(len(part) * settings.central_share))
    first = part[0] + (len(part) - count) // 2
    middle = first + count // 2
    kept = np.arange(first, first + count)
    return kept[(kept - middle) % settings.every == 0]


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with fewer slices, at least one; its z spacing grows with `every`."""
    places = volume.places_mm
    kept = _kept(np.arange(volume.slices) if places is None else places, settings)
    z, y, x = volume.spacing_mm
    return replace(
        volume,
        values=volume.values[kept],
        padding_mask=None if volume.padding_mask is None else volume.padding_mask[kept],
        slice_index=volume.slice_index[kept],
        spacing_mm=(z * settings.every, y, x),
        affine_lps=affine_on_grid(volume.affine_lps, (kept[0], 0, 0), (settings.every, 1, 1)),
    )


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask with the same slices."""
    return apply(mask, settings)

"""Fewer slices per stack: the central part, or every n-th.

Neighbouring slices say nearly the same, and the ends of a stack often show no anatomy. What is left keeps its slice
number, so every dropped slice is accounted for.
"""

from dataclasses import replace

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from scanloom.readers._volume import Volume


class Settings(BaseModel):
    """Which slices stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: int = Field(1, ge=1, description="keep every n-th slice of the central part, counted from its middle")
    central_share: float = Field(1.0, gt=0, le=1, description="share of the stack that is kept around its middle")


def _kept(slices: int, settings: Settings) -> np.ndarray:
    count = max(1, round(slices * settings.central_share))
    first = (slices - count) // 2
    middle = first + count // 2
    kept = np.arange(first, first + count)
    return kept[(kept - middle) % settings.every == 0]


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with fewer slices, at least one; its z spacing grows with `every`."""
    kept = _kept(volume.slices, settings)
    z, y, x = volume.spacing_mm
    return replace(
        volume,
        values=volume.values[kept],
        padding_mask=None if volume.padding_mask is None else volume.padding_mask[kept],
        slice_index=volume.slice_index[kept],
        spacing_mm=(z * settings.every, y, x),
    )


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask with the same slices."""
    return apply(mask, settings)

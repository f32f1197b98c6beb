"""Neighbouring slices as channels, so that a 2D network sees what lies above and below.

    channel k of slice i = slice min(max(i + k, 0), n - 1),   k = -neighbours ... neighbours

The first and last slice are repeated at the ends. With `offset_mm` the k-th neighbour is the slice nearest to k times
that distance, whatever the distance of slices: i + round(k offset_mm / spacing) where they are equally far apart, so
that thin and thick stacks look alike. Channels are named after their place (`image_minus_1`, `image`, `image_plus_1`).
Put it before `select_slices`, so that neighbours are those of the whole stack.
"""

from dataclasses import replace

import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume
from scanloom.strict_models import Strict


class Settings(Strict):
    """How many neighbours, how far."""

    neighbours: int = Field(1, ge=1, le=8, description="slices on each side; channels become 2 n + 1 times as many")
    offset_mm: float | None = Field(None, gt=0, description="distance of neighbours in mm; null: the next slices")


def _neighbours(volume: Volume, settings: Settings) -> np.ndarray:
    """int64 [slices, 2 neighbours + 1]: each slice's neighbours, before the ends are repeated."""
    steps = np.arange(-settings.neighbours, settings.neighbours + 1)
    own = np.arange(volume.slices)[:, np.newaxis]
    if settings.offset_mm is None or volume.slices == 1:
        return own + steps
    spacing = volume.spacing_mm[0]
    if not spacing > 0:
        raise ValueError("slices_2_5d: the distance of slices is not known; set offset_mm to null")
    places = volume.places_mm
    if places is not None:
        wanted = places[:, np.newaxis] + steps * settings.offset_mm
        return np.abs(places - wanted[..., np.newaxis]).argmin(axis=-1)
    return own + np.sign(steps) * np.floor(np.abs(steps) * settings.offset_mm / spacing + 0.5).astype(np.int64)


def _named(channel: str, k: int) -> str:
    return channel if k == 0 else f"{channel}_{'minus' if k < 0 else 'plus'}_{abs(k)}"


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with the channels of slice i - n, ..., i + n, in this order."""
    place = np.clip(_neighbours(volume, settings), 0, volume.slices - 1)
    stack = volume.with_channels()
    values = np.empty((*stack.shape[:3], place.shape[1] * stack.shape[3]), np.float32)
    for made, of in zip(values, place, strict=True):
        np.concatenate(stack[of], axis=-1, out=made)
    places = range(-settings.neighbours, settings.neighbours + 1)
    return replace(
        volume,
        values=values,
        channels=tuple(_named(channel, k) for k in places for channel in volume.channels),
        slope=volume.slope * place.shape[1],
        intercept=volume.intercept * place.shape[1],
    )

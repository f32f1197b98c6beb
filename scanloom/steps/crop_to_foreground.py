"""The box around what shows something, with a margin; the air around it is cut off.

The box spans all pixels above the threshold in any channel: first to last row and column (and slice) that has one, less
and plus the margin, inside the picture. Every series gets its own size, so `resize` or `crop_or_pad` must follow. A
series where nothing is above the threshold keeps its size.

The box follows the image, so a mask needs its image to be cut alike: `apply_to_mask` takes the volume too.
"""

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from scanloom.geometry import affine_on_grid
from scanloom.readers._volume import Volume
from scanloom.steps import _parts
from scanloom.steps._foreground import Threshold, above
from scanloom.strict_models import Strict


def _checked(margin_px: list[int]) -> list[int]:
    if len(margin_px) not in (2, 3) or min(margin_px) < 0:
        raise ValueError(f"expected [y, x] or [z, y, x] with 0 pixels or more each; got {margin_px}")
    return margin_px


class Settings(Strict):
    """What counts, and how much is left around it."""

    threshold: Threshold = Field("otsu", description="otsu | a number: what is above it, in the unit of the images")
    margin_px: Annotated[list[int], AfterValidator(_checked)] = Field(
        [0, 0], description="pixels left around the box: [y, x], slices kept; or [z, y, x], slices cut too"
    )
    parts: Literal["all", "largest"] = Field(
        "all", description="largest: only the largest connected part counts, not a couch or a label beside it"
    )


def _box(volume: Volume, settings: Settings) -> tuple[slice, slice, slice]:
    """What is kept along z, y, x."""
    mask = above(volume, settings.threshold)
    if settings.parts == "largest":
        mask = _parts.largest(mask)
    margins = [None, *settings.margin_px] if len(settings.margin_px) == 2 else settings.margin_px
    box = []
    for axis, margin in enumerate(margins):
        found = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if margin is None or not len(found):
            box.append(slice(0, mask.shape[axis]))
        else:
            box.append(slice(max(0, found[0] - margin), min(mask.shape[axis], found[-1] + 1 + margin)))
    return tuple(box)


def _cut(volume: Volume, box: tuple[slice, slice, slice]) -> Volume:
    padding = volume.padding_mask
    return replace(
        volume,
        values=np.ascontiguousarray(volume.values[box]),
        padding_mask=None if padding is None else padding[box],
        slice_index=volume.slice_index[box[0]],
        affine_lps=affine_on_grid(volume.affine_lps, [part.start for part in box], (1, 1, 1)),
    )


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume cut to its box."""
    return _cut(volume, _box(volume, settings))


def apply_to_mask(mask: Volume, settings: Settings, volume: Volume) -> Volume:
    """The mask cut to the box of `volume`, the series as this step gets it, on the same grid."""
    return _cut(mask, _box(volume, settings))

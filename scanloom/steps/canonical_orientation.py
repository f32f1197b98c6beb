"""Every image the same way round: axes swapped and flipped so that they run to the patient's left, back and head.

No interpolation: an oblique image keeps its own axes, each given to the direction of the patient it is nearest to (the
assignment with the largest sum of cosines). `to` names where columns, rows and slices lead, as SimpleITK's DICOMOrient
and nibabel's orientation codes do: LPS is an axial slice as radiologists see it, RAS is NIfTI's. At rank 2 slices must
stay slices: with `in_plane_only` rows and columns are swapped and flipped, in the order and direction in which `to`
names them, and the stack keeps its order (LPS: axial L, P; coronal L, S; sagittal P, S; LPI shows heads upright).
"""

from dataclasses import replace
from itertools import permutations
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from scanloom.readers._volume import Volume
from scanloom.strict_models import Strict

# letter -> (axis of the patient in LPS coordinates, direction)
LETTERS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


def _checked(to: str) -> str:
    if len(to) != 3 or not set(to) <= set(LETTERS) or {LETTERS[letter][0] for letter in to} != {0, 1, 2}:
        raise ValueError(f"expected three letters, one each of L or R, A or P, S or I, such as LPS or RAS; got '{to}'")
    return to


class Settings(Strict):
    """The orientation wanted."""

    to: Annotated[str, AfterValidator(_checked)] = Field(
        "LPS", description="where columns, rows, slices lead: one each of L|R, A|P, S|I"
    )
    in_plane_only: bool = Field(False, description="true: slices stay slices, as rank 2 needs it")


def _plan(volume: Volume, settings: Settings) -> tuple[list[int], list[bool]]:
    """(old axis of each new axis z, y, x; whether it is flipped)."""
    if volume.affine_lps is None:
        raise ValueError(
            "canonical_orientation: these images do not say how they lie (a picture, or slices without positions); "
            "leave the step out"
        )
    axes = volume.affine_lps[:3, :3] / np.linalg.norm(volume.affine_lps[:3, :3], axis=0)
    patient = max(permutations(range(3)), key=lambda of: sum(abs(axes[of[axis], axis]) for axis in range(3)))
    wanted = [LETTERS[letter] for letter in reversed(settings.to)]
    order = [patient.index(axis) for axis, _ in wanted]
    directions = dict(wanted)
    flipped = [axes[patient[axis], axis] * directions[patient[axis]] < 0 for axis in order]
    if settings.in_plane_only:
        kept = [(axis, flip) for axis, flip in zip(order, flipped, strict=True) if axis != 0]
        return [0, *(axis for axis, _ in kept)], [False, *(flip for _, flip in kept)]
    return order, flipped


def slicewise(settings: Settings) -> bool:
    """Whether every slice is turned by itself."""
    return settings.in_plane_only


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume turned; slices that became rows or columns lose their numbers (slice_index -1)."""
    order, flipped = _plan(volume, settings)
    sizes = volume.values.shape[:3]
    turn = tuple(slice(None, None, -1 if flip else None) for flip in flipped)

    def turned(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array.transpose(*order, *range(3, array.ndim))[turn])

    grid = np.zeros((4, 4))
    grid[3, 3] = 1
    for new, (old, flip) in enumerate(zip(order, flipped, strict=True)):
        grid[old, new] = -1 if flip else 1
        grid[old, 3] = sizes[old] - 1 if flip else 0
    return replace(
        volume,
        values=turned(volume.values),
        spacing_mm=tuple(volume.spacing_mm[axis] for axis in order),
        padding_mask=None if volume.padding_mask is None else turned(volume.padding_mask),
        slice_index=volume.slice_index[turn[0]].copy() if order[0] == 0 else np.full(sizes[order[0]], -1),
        affine_lps=volume.affine_lps @ grid,
    )


def apply_to_mask(mask: Volume, settings: Settings) -> Volume:
    """The mask turned the same way."""
    return apply(mask, settings)

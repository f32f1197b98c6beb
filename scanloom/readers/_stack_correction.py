"""Stacks that are no box made into one: a gantry's tilt sheared away, slices at changing distances made equal.

Both interpolate linearly along one axis and leave the other two alone. They take and give Volumes, of images or, with
`nearest`, of masks. Source of both rules: dcm2niix (Li et al. 2016, J Neurosci Methods 264), whose files `_Tilt` and
`_Eq` they equal up to the border.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from scanloom.geometry import (
    SAME_POSITION_MM,
    SPACING_TOLERANCE,
    SPACING_TOLERANCE_MM,
    TILT_TOLERANCE_DEG,
    shear_of,
    spacing_along,
)
from scanloom.readers._volume import Volume

AIR_HU = -1024.0


class StackChoices(NamedTuple):
    """The two settings of a reader that say what is done to a stack; "keep" and "exclude" leave it alone."""

    gantry_tilt: str = "keep"
    unequal_spacing: str = "keep"


def correct_stack(
    volume: Volume,
    orientation: np.ndarray,
    position: np.ndarray,
    position_mm: np.ndarray,
    settings: StackChoices,
    *,
    nearest: bool = False,
) -> Volume:
    """The volume as `settings` (a reader's own will do) want its stack.

    orientation `[6]`, position `[z, 3]` (LPS mm) and position_mm `[z]` (along the normal) of its slices, finite.
    """
    if settings.gantry_tilt == "correct":
        volume = untilted(volume, orientation, position, position_mm, nearest=nearest)
    if settings.unequal_spacing == "resample":
        volume = equally_spaced(volume, position_mm, nearest=nearest)
    return volume


def needs_correction(
    orientation: np.ndarray, position: np.ndarray, position_mm: np.ndarray, settings: StackChoices
) -> bool:
    """Whether `correct_stack` would change a volume whose slices lie like that."""
    if settings.gantry_tilt == "correct":
        lean = np.degrees(np.arctan(np.abs(shear_of(orientation, position)))).max()
        if lean > TILT_TOLERANCE_DEG:
            return True
    return settings.unequal_spacing == "resample" and _is_unequal(position_mm)


def _is_unequal(position_mm: np.ndarray) -> bool:
    """Whether gaps differ by more than passes as equal, and no two slices are at one place."""
    gap, usual = np.diff(position_mm), spacing_along(position_mm)
    tolerance = max(SPACING_TOLERANCE * usual, SPACING_TOLERANCE_MM)
    return len(gap) > 1 and gap.min() >= SAME_POSITION_MM and bool(np.abs(gap - usual).max() > tolerance)


def uneven_mm(position_mm: np.ndarray, slice_index: np.ndarray) -> np.ndarray | None:
    """`Volume.stack_mm` of a whole stack whose slices have these positions and numbers."""
    if len(position_mm) < 3 or not np.isfinite(position_mm).all() or not _is_unequal(position_mm):
        return None
    found = np.full(slice_index.max() + 1, np.nan)
    found[slice_index] = position_mm
    return found


def untilted(
    volume: Volume, orientation: np.ndarray, position: np.ndarray, position_mm: np.ndarray, *, nearest: bool = False
) -> Volume:
    """The volume with every slice shifted in its plane to where an upright stack has it; the affine is orthogonal.

    The picture grows by the largest shift, so that nothing is cut off; what no slice covers is air (padding). A slice
    is shifted as a whole, by a share of a pixel: along its columns for a gantry that turns about x, along its rows for
    one about y.
    """
    shear = shear_of(orientation, position)
    along = position_mm - position_mm[0]
    for axis, lean in ((2, shear[0]), (1, shear[1])):
        if abs(np.degrees(np.arctan(lean))) > TILT_TOLERANCE_DEG:
            volume = _shifted(volume, axis, along * lean / volume.spacing_mm[axis], nearest)
            affine = volume.affine_lps
            if affine is not None:
                # What is left of the step between slices once its part along this axis is gone.
                affine = affine.copy()
                unit = affine[:3, axis] / np.linalg.norm(affine[:3, axis])
                affine[:3, 0] -= (affine[:3, 0] @ unit) * unit
                volume = replace(volume, affine_lps=affine)
    return volume


def _shifted(volume: Volume, axis: int, shift: np.ndarray, nearest: bool) -> Volume:
    """Slice k moved by `shift[k]` pixels along `axis`, on a canvas that holds all of them."""
    low = int(np.floor(shift.min()))
    grown = int(np.ceil(shift.max())) - low
    values, n = np.moveaxis(volume.values, axis, 1), volume.values.shape[axis]
    shape = (values.shape[0], n + grown, *values.shape[2:])
    fill = 0.0 if nearest else _fill(volume)
    moved = np.full(shape, fill, np.float32)
    outside = np.ones(shape[:3], bool)
    padding = None if volume.padding_mask is None else np.moveaxis(volume.padding_mask, axis, 1)
    out = np.arange(n + grown)
    # Slice by slice: each has a shift of its own, and index arrays for all at once would need three more volumes.
    for slice_values, slice_out, slice_outside, k in zip(values, moved, outside, range(len(shift)), strict=True):
        at = out + low - shift[k]
        inside = (at >= -0.5) & (at <= n - 0.5)
        at = np.clip(at[inside], 0, n - 1)
        closest = np.floor(at + 0.5).astype(np.int64)
        if nearest:
            slice_out[inside] = slice_values[closest]
        else:
            before = np.minimum(np.floor(at).astype(np.int64), max(n - 2, 0))
            after = np.minimum(before + 1, n - 1)
            share = (at - before).astype(np.float32).reshape(-1, *(1,) * (slice_values.ndim - 1))
            slice_out[inside] = slice_values[before] * (1 - share) + slice_values[after] * share
        slice_outside[inside] = False if padding is None else padding[k][closest]
    affine = volume.affine_lps
    if affine is not None:
        affine = affine.copy()
        affine[:3, 3] += low * affine[:3, axis]
    return replace(
        volume,
        values=np.ascontiguousarray(np.moveaxis(moved, 1, axis)),
        padding_mask=np.ascontiguousarray(np.moveaxis(outside, 1, axis)),
        affine_lps=affine,
    )


def _fill(volume: Volume) -> float:
    """Air: -1024 HU, elsewhere the lowest value."""
    return AIR_HU if volume.unit == "HU" else float(volume.values.min())


def equally_spaced(volume: Volume, position_mm: np.ndarray, *, nearest: bool = False) -> Volume:
    """The volume with slices at one distance, from the first to the last slice: linear between neighbours.

    The distance is the smallest of the stack, but no more than twice as many slices are made (dcm2niix' rule): one odd
    gap of a millimetre in a stack of 5 mm does not make five slices of one. A stack whose gaps pass
    as equal (geometry.SPACING_TOLERANCE) stays as it is. slice_index is -1 for a slice that is not one of the stack.
    """
    if not _is_unequal(position_mm):
        return volume
    gap = np.diff(position_mm)
    extent = position_mm[-1] - position_mm[0]
    count = min(int(np.floor(extent / gap.min() + 1e-6)) + 1, 2 * volume.slices)
    step = gap.min() if count < 2 * volume.slices else extent / (count - 1)
    wanted = position_mm[0] + step * np.arange(count)
    after = np.clip(np.searchsorted(position_mm, wanted), 1, volume.slices - 1)
    share = (wanted - position_mm[after - 1]) / gap[after - 1]
    closest = np.where(share > 0.5, after, after - 1)
    same = np.abs(position_mm[closest] - wanted) < SAME_POSITION_MM
    padding = volume.padding_mask
    if nearest:
        values = volume.values[closest]
        padding = None if padding is None else padding[closest]
    else:
        before, after = np.where(same, closest, after - 1), np.where(same, closest, after)
        share = share.astype(np.float32).reshape(-1, *(1,) * (volume.values.ndim - 1))
        values = volume.values[before] * (1 - share)
        values += volume.values[after] * share
        if padding is not None:  # half air and half tissue is neither
            padding = padding[before] | padding[after]
            values[padding] = _fill(volume)
    affine = volume.affine_lps
    if affine is not None:
        affine = affine.copy()
        affine[:3, 0] *= step / volume.spacing_mm[0]
    return replace(
        volume,
        values=values,
        padding_mask=padding,
        slice_index=np.where(same, volume.slice_index[closest], -1),
        stack_mm=None,
        spacing_mm=(float(step), *volume.spacing_mm[1:]),
        affine_lps=affine,
    )

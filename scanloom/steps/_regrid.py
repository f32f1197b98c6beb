"""A volume on another pixel grid with the same centre: what `resample` and `resize` have in common."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scanloom.geometry import affine_on_grid
from scanloom.readers._volume import Volume
from scanloom.steps import _axis_weights

WHOLE = (slice(None), slice(None), slice(None))


def regrid(volume: Volume, sizes: Sequence[int], steps: Sequence[float], kept: Sequence[slice] = WHOLE) -> Volume:
    """sizes: pixels along z, y, x; steps: distance of new pixels in old ones. Values smooth, padding mask nearest.

    kept: only these new pixels along z, y, x are made, from the old ones that count for them.
    """
    plans = _plans(volume.values.shape, sizes, steps, kept)
    values = volume.values[tuple(part for part, _ in plans)]
    if values.ndim == 4:  # channels first, so that the last axis is a long one
        values = np.ascontiguousarray(np.moveaxis(values, -1, 0))
    weights = [(axis, weights) for axis, (_, weights) in zip(range(-3, 0), plans, strict=True) if weights is not None]
    # What shrinks most comes first: the fewer values are left for the other axes.
    for axis, of_axis in sorted(weights, key=lambda plan: plan[1].n_out / plan[1].n_in):
        values = _axis_weights.along(values, of_axis, axis)
    if volume.values.ndim == 4:
        values = np.moveaxis(values, 0, -1)
    return on_grid(volume, np.ascontiguousarray(values, np.float32), sizes, steps, kept)


def used(shape: Sequence[int], sizes: Sequence[int], steps: Sequence[float], kept: Sequence[slice]) -> list[slice]:
    """The old pixels along z, y, x that count for the new ones kept."""
    return [part for part, _ in _plans(shape, sizes, steps, kept)]


def _plans(shape, sizes, steps, kept) -> list[tuple[slice, _axis_weights.Weights | None]]:
    """(old pixels that count, weights; None where the axis stays as it is) along z, y, x."""
    plans = []
    for have, size, step, part in zip(shape, sizes, steps, kept, strict=False):
        first, last, _ = part.indices(size)
        if size == have and step == 1:
            plans.append((slice(first, last), None))
        else:
            weights = _axis_weights.smooth(have, size, step, first, last)
            plans.append((weights.used, weights))
    return plans


def regrid_nearest(mask: Volume, sizes: Sequence[int], steps: Sequence[float]) -> Volume:
    """The same grid as `regrid`, each new pixel taking the value of the nearest old one."""
    return on_grid(mask, _pick(mask.values, sizes, steps, WHOLE), sizes, steps, WHOLE)


def _pick(values: np.ndarray, sizes: Sequence[int], steps: Sequence[float], kept: Sequence[slice]) -> np.ndarray:
    for axis in (1, 2, 0):  # rows are copied whole, so they go first
        index = _axis_weights.nearest(values.shape[axis], sizes[axis], steps[axis])[kept[axis]]
        values = np.take(values, index, axis)
    return values


def on_grid(
    volume: Volume,
    values: np.ndarray,
    sizes: Sequence[int],
    steps: Sequence[float],
    kept: Sequence[slice] = WHOLE,
) -> Volume:
    """`values` as the volume's on the grid of `regrid`; the padding mask nearest."""
    padding = volume.padding_mask
    same_slices = sizes[0] == volume.slices and steps[0] == 1
    slice_index = volume.slice_index if same_slices else np.full(sizes[0], -1)  # between two slices is none of them
    first = [
        _axis_weights.centres(*grid)[part.indices(grid[1])[0]]
        for *grid, part in zip(volume.values.shape, sizes, steps, kept, strict=False)
    ]
    return replace(
        volume,
        values=values,
        spacing_mm=tuple(float(mm * step) for mm, step in zip(volume.spacing_mm, steps, strict=True)),
        padding_mask=None if padding is None else _pick(padding, sizes, steps, kept),
        slice_index=slice_index[kept[0]],
        affine_lps=affine_on_grid(volume.affine_lps, first, steps),
    )

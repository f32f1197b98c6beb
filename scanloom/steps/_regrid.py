"""A volume on another pixel grid with the same centre: what `resample` and `resize` have in common."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scanloom.readers._volume import Volume
from scanloom.steps import _axis_weights


def regrid(volume: Volume, sizes: Sequence[int], steps: Sequence[float]) -> Volume:
    """sizes: pixels along z, y, x; steps: distance of new pixels in old ones. Values smooth, padding mask nearest."""
    values = volume.values
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        if size != values.shape[axis] or step != 1:
            values = _axis_weights.along(values, _axis_weights.smooth(values.shape[axis], size, step), axis)
    return _on_grid(volume, np.ascontiguousarray(values, np.float32), sizes, steps)


def regrid_nearest(mask: Volume, sizes: Sequence[int], steps: Sequence[float]) -> Volume:
    """The same grid as `regrid`, each new pixel taking the value of the nearest old one."""
    return _on_grid(mask, _pick(mask.values, sizes, steps), sizes, steps)


def _pick(values: np.ndarray, sizes: Sequence[int], steps: Sequence[float]) -> np.ndarray:
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        values = np.take(values, _axis_weights.nearest(values.shape[axis], size, step), axis)
    return values


def _on_grid(volume: Volume, values: np.ndarray, sizes: Sequence[int], steps: Sequence[float]) -> Volume:
    padding = volume.padding_mask
    same_slices = sizes[0] == volume.slices and steps[0] == 1
    return replace(
        volume,
        values=values,
        spacing_mm=tuple(float(mm * step) for mm, step in zip(volume.spacing_mm, steps, strict=True)),
        padding_mask=None if padding is None else _pick(padding, sizes, steps),
        # A slice between the stack's slices is none of them.
        slice_index=volume.slice_index if same_slices else np.full(sizes[0], -1),
    )

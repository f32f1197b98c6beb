"""The images of one DICOM series as a volume in physical units."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scanloom.geometry import affine_on_grid, spacing_along, stack_affine
from scanloom.readers._dicom_pixels import WHOLE, Frames, read_files
from scanloom.readers._scan import errors_by_pseudonym, located, private_errors
from scanloom.readers._stack_correction import correct_stack, needs_correction, uneven_mm
from scanloom.readers._volume import EarlyStep, Volume

ORIENTATION = [f"orientation_{i}" for i in range(6)]
PLACE = [f"position_{i}" for i in range(3)]
FILES_PER_BLOCK = 4  # slices: as fast as 8, with half the memory (benchmarks/memory.py)
FILES_PER_SMALL_BLOCK = 16  # where a step makes slices smaller as they are read


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings) -> Volume:
    """The images of `rows` as one volume in physical units, its stack corrected as the settings want it.

    rows: in stack order; path, frame, slice_index, position_mm (along the normal), and orientation_0 ... orientation_5
    and position_0 ... position_2 (LPS) for the affine and for corrections.
    """
    frames = read_files(_runs(_images(root, rows)), settings.voi_lut)
    stack = _Stack.of(rows)
    volume = _volume(frames, stack, rows.slice_index.to_numpy(dtype=np.int64), stack.affine(frames.spacing_mm))
    return correct_stack(volume, *stack.where, settings) if stack.is_crooked(settings) else volume


def read_blocks(
    root: Path,
    rows: pd.DataFrame,
    settings,
    with_padding: bool = False,
    needed: Callable[[Volume], Sequence[slice]] | None = None,
    first: EarlyStep | None = None,
) -> Iterator[Volume]:
    """The images of `rows` a few files at a time, in order, for steps that take slices one by one.

    Values, slice numbers, spacing and place in space are those of `read_series`; there is a padding mask only where
    asked for. needed: is asked which slices, rows and columns count, with a volume that has all but the values of the
    series; other slices do not come, other rows and columns are undefined. A series whose stack is to be corrected
    comes as one block, whole. first: a step that is done to each slice as it is read; neither with_padding nor needed
    goes with it.
    """
    if first is not None and (with_padding or needed is not None):
        raise ValueError("a step while reading goes neither with padding masks nor with parts of slices")
    stack = _Stack.of(rows)
    if stack.is_crooked(settings):
        series = read_series(root, rows, settings)
        yield series if first is None else first.apply(series)
        return
    numbers, images = rows.slice_index.to_numpy(np.int64), _images(root, located(rows))
    while_reading = {"with_padding": with_padding, "of_slices": first and first.of_slices}

    def read(block: slice, part: tuple[slice, slice] = WHOLE) -> Frames:
        with errors_by_pseudonym(rows):
            return read_files(_runs(images[block]), settings.voi_lut, part=part, **while_reading)

    affine, z, *part = None, slice(0, len(rows)), *WHOLE
    if needed is not None:
        middle = len(rows) // 2
        one = read(slice(middle, middle + 1))
        affine = stack.affine(one.spacing_mm)
        shape = (len(rows), *one.values.shape[1:])
        values = np.broadcast_to(np.float32(0), shape)
        z, *part = needed(_volume(replace(one, values=values, padding=None), stack, numbers, affine))
    for block in _blocks(images, z, FILES_PER_BLOCK if first is None else FILES_PER_SMALL_BLOCK):
        frames = read(block, tuple(part))
        if block.start == z.start and needed is None:
            affine = stack.affine(frames.spacing_mm)
        here = affine_on_grid(affine, (block.start, 0, 0), (1, 1, 1))
        if first is None:
            yield _volume(frames, stack, numbers[block], here)
        elif frames.stored is None:
            yield first.apply(_volume(frames, stack, numbers[block], here))
        else:
            as_read = np.broadcast_to(np.float32(0), (len(frames.values), *frames.stored))
            unchanged = _volume(replace(frames, values=as_read), stack, numbers[block], here)
            yield first.placed(unchanged, frames.values)


def _images(root: Path, rows: pd.DataFrame) -> list[tuple[str, int]]:
    """(file, frame) of every row."""
    files = (os.path.join(root, path) for path in rows.path.tolist())
    return list(zip(files, rows.frame.tolist(), strict=True))


def _columns(rows: pd.DataFrame, names: list[str]) -> np.ndarray:
    """float64 `[rows, names]`, NaN in columns that the table does not have (a twentieth of the time of reindex)."""
    found = np.full((len(rows), len(names)), np.nan)
    for number, name in enumerate(names):
        if name in rows:
            found[:, number] = rows[name].to_numpy(np.float64)
    return found


def _runs(images: list[tuple[str, int]]) -> list[tuple[str, list[int]]]:
    """(file, frames) for every stretch of images from one file."""
    return [(path, [frame for _, frame in run]) for path, run in groupby(images, key=itemgetter(0))]


def _blocks(images: list[tuple[str, int]], z: slice, files: int) -> Iterator[slice]:
    """The slices `z` in runs of so many files; all frames of one file stand together."""
    new = [n for n in range(z.start, z.stop) if n == z.start or images[n][0] != images[n - 1][0]]
    starts = new[::files]
    for start, stop in zip(starts, [*starts[1:], z.stop], strict=True):
        yield slice(start, stop)


class _Stack(NamedTuple):
    """Where the slices of a whole series lie: orientation `[z, 6]`, place `[z, 3]`, position along the normal `[z]`."""

    orientation: np.ndarray
    place: np.ndarray
    position_mm: np.ndarray
    spacing_z_mm: float
    uneven_mm: np.ndarray | None
    """Volume.stack_mm."""

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "_Stack":
        position = rows.position_mm.to_numpy(np.float64)
        spacing = spacing_along(position) if np.isfinite(position).all() else np.nan
        uneven = uneven_mm(position, rows.slice_index.to_numpy(np.int64))
        return cls(_columns(rows, ORIENTATION), _columns(rows, PLACE), position, spacing, uneven)

    @property
    def where(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `correct_stack` wants it."""
        return self.orientation.mean(0), self.place, self.position_mm

    def affine(self, pixel_spacing_mm: tuple[float, float]) -> np.ndarray | None:
        """Of the whole stack; pixel_spacing_mm: y, x."""
        return stack_affine(self.orientation, self.place, (self.spacing_z_mm, *pixel_spacing_mm))

    def is_crooked(self, settings) -> bool:
        """Whether the settings ask for a correction that this stack needs."""
        return bool(np.isfinite(self.spacing_z_mm)) and needs_correction(*self.where, settings)


def _volume(frames: Frames, stack: _Stack, slice_index: np.ndarray, affine: np.ndarray | None) -> Volume:
    return Volume(
        values=frames.values,
        unit=frames.unit,
        spacing_mm=(stack.spacing_z_mm, *frames.spacing_mm),
        padding_mask=frames.padding,
        channels=("image",) if frames.values.ndim == 3 else ("red", "green", "blue"),
        slice_index=slice_index,
        stack_mm=stack.uneven_mm,
        affine_lps=affine,
    )

"""Where slices lie in space: stack order, spacing, gaps, tilt and the affine, from DICOM's plane module.

Positions and directions are in LPS millimetres (PS3.3 C.7.6.2.1.1): ImageOrientationPatient holds the direction of a
row (increasing column) and of a column (increasing row), ImagePositionPatient the centre of the first pixel. A slice's
place in its stack is its position projected on the normal; file order, InstanceNumber and SliceLocation say nothing
reliable. All functions take many stacks at once: `stack` numbers the stack of each image (int `[n]`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

SAME_POSITION_MM = 0.01  # two slices closer than this are at one place: DICOM writes positions with 2 or more decimals
SPACING_TOLERANCE = 0.1  # share of the usual gap by which one gap may differ: rounding of positions to 0.1 mm passes
SPACING_TOLERANCE_MM = 0.02  # ... and at least this much: the rounding error of two positions with 2 decimals
TILT_TOLERANCE_DEG = 0.5  # a stack leaning more than this is sheared: 4 pixels over 30 slices of 5 mm
ORIENTATION_TOLERANCE_DEG = 1.0  # directions written with 3 decimals differ by less


@dataclass(frozen=True)
class Stacks:
    """Sorted stacks.

    order: int `[n]`, the images by stack and by position along the normal (ties: by the given tie-break).
    position_mm: float `[n]`, position along the stack's normal, in the order the images came.
    missing_after: int `[n]`, how many slices are missing between this image and the next of its stack, as they came.
    table: one row per stack number, columns spacing_mm (usual gap; NaN for one slice), tilt_deg (NaN for one slice),
        mixed_orientation, repeated_positions, missing_slices, unequal_spacing (bool), n_missing (int).
    """

    order: np.ndarray
    position_mm: np.ndarray
    missing_after: np.ndarray
    table: pd.DataFrame


def normals(orientation: np.ndarray) -> np.ndarray:
    """Unit normals `[n, 3]` of planes with row and column directions `orientation` `[n, 6]`."""
    orientation = np.asarray(orientation, dtype=np.float64)
    normal = np.cross(orientation[..., :3], orientation[..., 3:])
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    return np.divide(normal, length, out=np.full_like(normal, np.nan), where=length > 0)


def _mean_orientation(stack: np.ndarray, orientation: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean row and column directions `[stacks, 6]`: one normal per stack, whatever the order of its files."""
    total = np.stack([np.bincount(stack, column, len(count)) for column in orientation.T], axis=1)
    return total / np.maximum(count, 1)[:, None]


def _leaves_the_mean(stack: np.ndarray, orientation: np.ndarray, mean: np.ndarray, stacks: int) -> np.ndarray:
    """True `[stacks]` where one image's row or column direction is further than the tolerance from the stack's mean."""
    limit = np.cos(np.radians(ORIENTATION_TOLERANCE_DEG))
    off = np.zeros(stacks, bool)
    for part in (slice(0, 3), slice(3, 6)):
        mine, usual = orientation[:, part], mean[stack, part]
        length = np.linalg.norm(mine, axis=1) * np.linalg.norm(usual, axis=1)
        cosine = np.divide((mine * usual).sum(1), length, out=np.zeros(len(mine)), where=length > 0)
        np.logical_or.at(off, stack[cosine < limit], True)
    return off


def _usual_gap(stack: np.ndarray, gap: np.ndarray, stacks: int) -> np.ndarray:
    """Lower median gap per stack `[stacks]`, zero gaps left out; NaN where there is none."""
    keep = gap >= SAME_POSITION_MM
    stack, gap = stack[keep], gap[keep]
    by = np.lexsort((gap, stack))
    first = np.searchsorted(stack[by], np.arange(stacks))
    count = np.bincount(stack, minlength=stacks)
    usual = np.full(stacks, np.nan)
    some = count > 0
    usual[some] = gap[by][first[some] + (count[some] - 1) // 2]
    return usual


def _gap_faults(stack: np.ndarray, gap: np.ndarray, usual: np.ndarray, stacks: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Which stacks have repeated positions, missing slices, unequal spacing; and the slices missing in each gap.

    A gap that is a whole multiple of the usual one is a hole where slices are missing. Two or more of one size in a row
    up to an end of the stack are a change of spacing instead (head CT: thin below, thick above); with usual gaps on
    both sides they are every other slice lost.
    """
    step = usual[stack]
    tolerance = np.maximum(SPACING_TOLERANCE * step, SPACING_TOLERANCE_MM)
    repeated = gap < SAME_POSITION_MM
    odd = ~repeated & (np.abs(gap - step) > tolerance)
    multiple = np.round(gap / step)
    hole = odd & (multiple >= 2) & (np.abs(gap - multiple * step) <= tolerance)
    new_stack = np.append(True, stack[1:] != stack[:-1])[: len(gap)]
    new_run = new_stack | np.append(True, np.abs(np.diff(gap)) > tolerance[:-1])[: len(gap)]
    run = np.cumsum(new_run) - 1
    at_an_end = new_stack | np.append(new_stack[1:], True)[: len(gap)]
    changed = (np.bincount(run) > 1) & (np.bincount(run, at_an_end) > 0)
    missing = hole & ~changed[run]
    absent = np.where(missing, multiple - 1, 0).astype(np.int64)

    def any_of(flags: np.ndarray) -> np.ndarray:
        return np.bincount(stack[flags], minlength=stacks) > 0

    faults = pd.DataFrame(
        {
            "repeated_positions": any_of(repeated),
            "missing_slices": any_of(missing),
            "unequal_spacing": any_of(odd & ~missing),
            "n_missing": np.bincount(stack, absent, stacks).astype(np.int64),
        }
    )
    return faults, absent


def sort_stacks(stack: np.ndarray, orientation: np.ndarray, position: np.ndarray, tie: np.ndarray) -> Stacks:
    """Order, spacing and faults of many stacks.

    stack: int `[n]` numbers 0 ... s-1; orientation: float `[n, 6]`; position: float `[n, 3]`, both finite;
    tie: sortable `[n]`, decides between slices at one position so that the order never depends on the file system.
    """
    stack = np.asarray(stack, dtype=np.int64)
    orientation = np.asarray(orientation, dtype=np.float64).reshape(len(stack), 6)
    position = np.asarray(position, dtype=np.float64).reshape(len(stack), 3)
    if not (np.isfinite(orientation).all() and np.isfinite(position).all()):
        raise ValueError("orientations and positions must be finite numbers")
    stacks = int(stack.max()) + 1 if len(stack) else 0
    count = np.bincount(stack, minlength=stacks)
    mean = _mean_orientation(stack, orientation, count)
    normal = np.nan_to_num(normals(mean))
    along = (position * normal[stack]).sum(1)
    # Slices of one place must tie although their projections differ by rounding: compare steps of 0.1 micrometre.
    order = np.lexsort((np.unique(tie, return_inverse=True)[1], np.round(along, 4), stack))

    stack_of_pair = stack[order][1:]
    within = stack_of_pair == stack[order][:-1]
    gap = np.diff(along[order])[within]
    usual = _usual_gap(stack_of_pair[within], gap, stacks)
    table, absent = _gap_faults(stack_of_pair[within], gap, usual, stacks)
    missing_after = np.zeros(len(stack), np.int64)
    missing_after[order[:-1][within]] = absent
    first = order[np.searchsorted(stack[order], np.arange(stacks))] if stacks else order
    last = order[np.searchsorted(stack[order], np.arange(stacks), side="right") - 1] if stacks else order
    travel = position[last] - position[first]
    along_travel = along[last] - along[first]
    uniform = ~(table.repeated_positions | table.missing_slices | table.unequal_spacing) & (count > 1)
    mean_gap = np.divide(along_travel, count - 1, out=np.full(stacks, np.nan), where=count > 1)
    sideways = np.linalg.norm(travel - along_travel[:, None] * normal, axis=1)
    tilt = np.degrees(np.arctan2(sideways, np.abs(along_travel)))
    table.insert(0, "spacing_mm", np.where(uniform, mean_gap, usual))
    table.insert(1, "tilt_deg", np.where(along_travel > SAME_POSITION_MM, tilt, np.nan))
    table.insert(2, "mixed_orientation", _leaves_the_mean(stack, orientation, mean, stacks))
    return Stacks(order, along, missing_after, table)


def spacing_along(position_mm: np.ndarray) -> float:
    """Distance of neighbouring slices of one sorted stack; the usual gap where gaps differ, NaN for one slice.

    The spacing_mm of `sort_stacks`, without its table: readers ask for it once per series.
    """
    position = np.asarray(position_mm, dtype=np.float64)
    gap = np.diff(position)
    distinct = np.sort(gap[gap >= SAME_POSITION_MM])
    if not len(distinct):
        return float("nan")
    usual = distinct[(len(distinct) - 1) // 2]
    uniform = len(distinct) == len(gap) and np.abs(gap - usual).max() <= max(
        SPACING_TOLERANCE * usual, SPACING_TOLERANCE_MM
    )
    return float((position[-1] - position[0]) / len(gap) if uniform else usual)


def missing_numbers(missing_after: np.ndarray) -> np.ndarray:
    """Numbers, from 1, that the missing slices have in the whole stack; missing_after: int `[z]`, in stack order."""
    steps = 1 + np.asarray(missing_after, dtype=np.int64)
    there = np.cumsum(steps) - steps + 1
    return np.setdiff1d(np.arange(1, there[-1] + 1), there) if len(there) else there


def shear_of(orientation: np.ndarray, position: np.ndarray) -> tuple[float, float]:
    """Millimetres by which a stack leans along its rows' and its columns' direction per millimetre along its normal.

    orientation `[6]`, position `[z, 3]` in stack order. Least squares over all slices; 0 for a stack that stands
    upright or has less than two places. The angle of a gantry about x is atan of the second number. Its sign comes from
    where the slices lie: GantryDetectorTilt (0018,1120) is "not intended for mathematical computations" (PS3.3
    C.8.2.1), and makers disagree on its sign.
    """
    orientation = np.asarray(orientation, dtype=np.float64)
    offset = np.asarray(position, dtype=np.float64) - np.mean(position, axis=0)
    along = offset @ normals(orientation[None])[0]
    spread = along @ along
    if spread < SAME_POSITION_MM**2:
        return 0.0, 0.0
    row, column = (axis / np.linalg.norm(axis) for axis in (orientation[:3], orientation[3:]))
    return float(along @ (offset @ row) / spread), float(along @ (offset @ column) / spread)


def affine_lps(
    orientation: np.ndarray, first: np.ndarray, last: np.ndarray, slices: int, pixel_spacing: tuple[float, float]
) -> np.ndarray:
    """Matrix `[4, 4]` from voxel indices (z, y, x, 1) to LPS millimetres, PS3.3 equation C.7.6.2.1-1 with a third axis.

    orientation `[6]`; first, last: ImagePositionPatient of the first and last slice; pixel_spacing: between rows (y),
    between columns (x). The third axis runs from slice to slice, so a tilted stack gives a sheared matrix. One slice:
    a unit step along the normal.
    """
    orientation = np.asarray(orientation, dtype=np.float64)
    first, last = np.asarray(first, dtype=np.float64), np.asarray(last, dtype=np.float64)
    affine = np.eye(4)
    affine[:3, 0] = (last - first) / (slices - 1) if slices > 1 else normals(orientation[None])[0]
    affine[:3, 1] = orientation[3:] / np.linalg.norm(orientation[3:]) * pixel_spacing[0]
    affine[:3, 2] = orientation[:3] / np.linalg.norm(orientation[:3]) * pixel_spacing[1]
    affine[:3, 3] = first
    return affine


def stack_affine(
    orientation: np.ndarray, position: np.ndarray, spacing_mm: tuple[float, float, float]
) -> np.ndarray | None:
    """`affine_lps` of a stack `[z]` in order, from its slices' orientation `[z, 6]`, position `[z, 3]` and spacing.

    spacing_mm: z, y, x as a volume has it. Where distances differ or slices are missing no matrix is right for all:
    then it holds for the first slice, the directions, and spacing_mm between slices. None where something is unknown,
    or all slices are at one place.
    """
    orientation, position = np.asarray(orientation, np.float64), np.asarray(position, np.float64)
    known = np.isfinite(orientation).all() and np.isfinite(position).all() and np.isfinite(spacing_mm[1:]).all()
    if not known or (len(position) > 1 and not spacing_mm[0] > 0):
        return None
    mean = orientation.mean(0)
    affine = affine_lps(mean, position[0], position[-1], len(position), spacing_mm[1:])
    if len(position) > 1:
        along = abs(float(affine[:3, 0] @ normals(mean[None])[0]))  # a file's own order may run against the normal
        if not along * (len(position) - 1) >= SAME_POSITION_MM:
            return None
        affine[:3, 0] *= spacing_mm[0] / along
    return affine


def affine_on_grid(affine: np.ndarray | None, first: Sequence[float], step: Sequence[float]) -> np.ndarray | None:
    """`affine` for another grid, whose voxel 0 is voxel `first` (z, y, x) of the old one, its voxels `step` apart.

    A step of -1 from the last voxel is a flip. None stays None.
    """
    if affine is None:
        return None
    grid = np.diag([*step, 1.0]).astype(np.float64)
    grid[:3, 3] = first
    return affine @ grid

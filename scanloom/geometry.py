"""Where slices lie in space: stack order, spacing, gaps, tilt and the affine, from DICOM's plane module.

Positions and directions are in LPS millimetres (PS3.3 C.7.6.2.1.1): ImageOrientationPatient holds the direction of a
row (increasing column) and of a column (increasing row), ImagePositionPatient the centre of the first pixel. A slice's
place in its stack is its position projected on the normal; file order, InstanceNumber and SliceLocation say nothing
reliable. All functions take many stacks at once: `stack` numbers the stack of each image (int `[n]`).
"""

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
    table: one row per stack number, columns spacing_mm (usual gap; NaN for one slice), tilt_deg (NaN for one slice),
        mixed_orientation, repeated_positions, missing_slices, unequal_spacing (bool).
    """

    order: np.ndarray
    position_mm: np.ndarray
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


def _gap_faults(stack: np.ndarray, gap: np.ndarray, usual: np.ndarray, stacks: int) -> pd.DataFrame:
    """Which stacks have repeated positions, missing slices, unequal spacing.

    A gap that is a whole multiple of the usual one is a hole where slices are missing. Two such gaps of one size in a
    row are a change of spacing instead (head CT: thin below, thick above).
    """
    step = usual[stack]
    tolerance = np.maximum(SPACING_TOLERANCE * step, SPACING_TOLERANCE_MM)
    repeated = gap < SAME_POSITION_MM
    odd = ~repeated & (np.abs(gap - step) > tolerance)
    multiple = np.round(gap / step)
    hole = odd & (multiple >= 2) & (np.abs(gap - multiple * step) <= tolerance)
    same_as_next = np.zeros(len(gap), bool)
    if len(gap) > 1:
        same_as_next[:-1] = (stack[1:] == stack[:-1]) & (np.abs(gap[1:] - gap[:-1]) <= tolerance[:-1])
    in_a_run = same_as_next | np.concatenate([[False], same_as_next[:-1]]) if len(gap) else same_as_next
    missing = hole & ~in_a_run

    def any_of(flags: np.ndarray) -> np.ndarray:
        return np.bincount(stack[flags], minlength=stacks) > 0

    return pd.DataFrame(
        {
            "repeated_positions": any_of(repeated),
            "missing_slices": any_of(missing),
            "unequal_spacing": any_of(odd & ~missing),
        }
    )


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
    table = _gap_faults(stack_of_pair[within], gap, usual, stacks)
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
    return Stacks(order, along, table)


def spacing_along(position_mm: np.ndarray) -> float:
    """Distance of neighbouring slices of one sorted stack; the usual gap where gaps differ, NaN for one slice."""
    position = np.asarray(position_mm, dtype=np.float64)
    points = np.stack([0 * position, 0 * position, position], axis=1)
    axial = np.tile([1.0, 0, 0, 0, 1, 0], (len(position), 1))
    return float(sort_stacks(np.zeros(len(position), int), axial, points, np.arange(len(position))).table.spacing_mm[0])


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
    affine[:3, 1] = orientation[3:] * pixel_spacing[0]
    affine[:3, 2] = orientation[:3] * pixel_spacing[1]
    affine[:3, 3] = first
    return affine

"""DICOM images to series: which belong together, in which order they stand, and what is wrong with a stack."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from scanloom.geometry import SAME_POSITION_MM, TILT_TOLERANCE_DEG, missing_numbers, sort_stacks
from scanloom.readers._dicom_phases import find_phases
from scanloom.readers._scan import Grouped, ScanResult, of_good_files


@dataclass(frozen=True)
class _Stacked:
    """The images' stacks: number of each image's stack, the stacks' keys, and what `sort_stacks` says of them.

    along, missing_after `[n]` and order as in geometry.Stacks (stacks without positions: NaN, 0, by instance number);
    table: its table by stack number; placed: bool per stack, every image has a position.
    """

    stack: np.ndarray
    keys: np.ndarray
    order: np.ndarray
    along: np.ndarray
    missing_after: np.ndarray
    table: pd.DataFrame
    placed: np.ndarray


def group_series(scan: ScanResult, settings) -> Grouped:
    """Series by SeriesInstanceUID (a file without one is its own), in stack order, each with its verdict.

    A series with several images at each position is split into its phases, keys "<uid>#1", "<uid>#2", ..., where
    `settings.repeated_positions` is "split". Columns of `series`: series_key, reason, spacing_z_mm, tilt_deg, detail
    (text: which slices are missing, what phase this is; names no patient), n_missing.
    """
    images = of_good_files(scan.files, scan.images).reset_index(drop=True)
    images["series_key"] = images.series_uid.where(images.series_uid != "", "file " + images.path).astype("str")
    stacked = _stack(images)
    phases = _phases(images, stacked)
    of_phase = {}
    if settings.repeated_positions == "split":
        images, of_phase = _split(images, stacked, phases)
        if of_phase:
            stacked = _stack(images)
            phases = {key: found for key, found in phases.items() if found[0] is None}
    reason = _reasons(images, stacked, phases, settings)
    series = pd.DataFrame(
        {
            "series_key": pd.Series(stacked.keys, dtype="str"),
            "reason": pd.Series(reason, dtype="str"),
            "spacing_z_mm": stacked.table.spacing_mm.to_numpy(),
            "tilt_deg": stacked.table.tilt_deg.to_numpy(),
            "detail": pd.Series(_details(stacked, phases, of_phase), dtype="str"),
            "n_missing": stacked.table.n_missing.fillna(0).to_numpy().astype(np.int64),
        }
    )
    images = images.assign(position_mm=stacked.along, stack=stacked.stack).iloc[stacked.order].reset_index(drop=True)
    images["slice_index"] = images.groupby("stack", sort=False).cumcount()
    return Grouped(series, images.drop(columns="stack"))


def _stack(images: pd.DataFrame) -> _Stacked:
    """The images of each series_key as a stack; those without positions in the order of instance and frame."""
    stack, keys = pd.factorize(images.series_key, sort=True)
    orientation = images[[f"orientation_{i}" for i in range(6)]].to_numpy()
    position = images[[f"position_{i}" for i in range(3)]].to_numpy()
    known = np.isfinite(orientation).all(1) & np.isfinite(position).all(1)
    placed = np.bincount(stack[~known], minlength=len(keys)) == 0
    tie = (images.sop_uid + "/" + images.path + "/" + images.frame.astype(str).str.zfill(6)).to_numpy()

    at = np.flatnonzero(placed[stack])
    codes, numbers = np.unique(stack[at], return_inverse=True)
    sorted_ = sort_stacks(numbers, orientation[at], position[at], tie[at])
    along, missing_after = np.full(len(images), np.nan), np.zeros(len(images), np.int64)
    along[at], missing_after[at] = sorted_.position_mm, sorted_.missing_after
    rank = np.zeros(len(images))
    rank[at[sorted_.order]] = np.arange(len(at))
    rest = np.flatnonzero(~placed[stack])
    by_number = np.lexsort((tie[rest], images.frame.to_numpy()[rest], images.instance_number.to_numpy()[rest]))
    rank[rest[by_number]] = np.arange(len(rest))
    table = sorted_.table.set_index(pd.Index(codes)).reindex(range(len(keys)))
    return _Stacked(stack, keys.to_numpy(), np.lexsort((rank, stack)), along, missing_after, table, placed)


def _fault(stacked: _Stacked, name: str) -> np.ndarray:
    """Column of the table as bool per stack; stacks without positions have no such fault."""
    return stacked.table[name].eq(True).to_numpy()


def _rows_of(stacked: _Stacked) -> list[np.ndarray]:
    """Rows of the images of each stack, in stack order."""
    counts = np.bincount(stacked.stack, minlength=len(stacked.keys))
    return np.split(stacked.order, np.cumsum(counts)[:-1])


def _phases(images: pd.DataFrame, stacked: _Stacked) -> dict[str, tuple]:
    """series_key -> (rows, phase of each row or None, what tells the phases apart or why nothing does).

    For stacks of one orientation with several images at one position only: few, so a loop costs nothing.
    """
    found = {}
    wanted = np.flatnonzero(_fault(stacked, "repeated_positions") & ~_fault(stacked, "mixed_orientation"))
    rows_of = _rows_of(stacked) if len(wanted) else []
    for number in wanted:
        rows = rows_of[number]
        place = np.concatenate([[0], np.cumsum(np.diff(stacked.along[rows]) >= SAME_POSITION_MM)])
        found[stacked.keys[number]] = (rows, *find_phases(images.iloc[rows], place))
    return {key: (phase, by, rows) for key, (rows, phase, by) in found.items()}


def _split(images: pd.DataFrame, stacked: _Stacked, phases: dict) -> tuple[pd.DataFrame, dict[str, str]]:
    """The images with a series_key per phase, and series_key -> which phase it is."""
    keys = images.series_key.to_numpy(dtype=object, copy=True)
    of_phase = {}
    for key, (phase, by, rows) in phases.items():
        if phase is None:
            continue
        count = int(phase.max()) + 1
        names = np.array([f"{key}#{number + 1}" for number in range(count)], dtype=object)
        keys[rows] = names[phase]
        of_phase |= {name: f"phase {number + 1} of {count} by {by}" for number, name in enumerate(names)}
    return images.assign(series_key=pd.Series(keys, index=images.index, dtype="str")), of_phase


def _reasons(images: pd.DataFrame, stacked: _Stacked, phases: dict, settings) -> np.ndarray:
    """The first reason that applies to each series, "" where none does."""
    if not len(images):
        return np.array([], dtype=object)
    count = np.bincount(stacked.stack, minlength=len(stacked.keys))
    # Written spacings differ in the last digits between files of one series; a tenth of a micrometre is no difference.
    by = images.assign(spacing_y_mm=images.spacing_y_mm.round(4), spacing_x_mm=images.spacing_x_mm.round(4)).groupby(
        stacked.stack
    )

    def several(*columns: str) -> np.ndarray:
        return (by[list(columns)].nunique(dropna=False).max(axis=1) > 1).to_numpy()

    one_file = (by.path.nunique() == 1).to_numpy()
    lost = ~stacked.placed & (count > 1)
    complete = pd.Index(stacked.keys).isin([key for key, (phase, _, _) in phases.items() if phase is not None])
    tilted = (stacked.table.tilt_deg > TILT_TOLERANCE_DEG).to_numpy()
    repeated = settings.repeated_positions != "keep"
    verdicts = [
        ("mixed patients", several("raw_patient"), True),
        ("mixed orientation", _fault(stacked, "mixed_orientation"), True),
        ("mixed image size", several("rows", "columns", "samples", "spacing_y_mm", "spacing_x_mm"), True),
        ("too few slices", count < settings.min_slices, True),
        ("multi-frame without positions", lost & one_file, settings.no_positions == "exclude"),
        ("no positions", lost & ~one_file, settings.no_positions == "exclude"),
        ("multi-phase", complete, repeated),
        ("repeated positions", _fault(stacked, "repeated_positions"), repeated),
        ("missing slices", _fault(stacked, "missing_slices"), settings.missing_slices == "exclude"),
        ("unequal spacing", _fault(stacked, "unequal_spacing"), settings.unequal_spacing == "exclude"),
        ("gantry tilt", tilted, settings.gantry_tilt == "exclude"),
    ]
    active = [(name, flags) for name, flags, wanted in verdicts if wanted]
    return np.select([flags for _, flags in active], [name for name, _ in active], default="").astype(object)


def _details(stacked: _Stacked, phases: dict, of_phase: dict[str, str]) -> list[str]:
    """What a person wants to know about each series' faults and phases; "" for most."""
    parts = [[of_phase[key]] if key in of_phase else [] for key in stacked.keys]
    one_way = ~_fault(stacked, "mixed_orientation")  # gaps and angles of others mean nothing
    holes, unequal = (one_way & _fault(stacked, name) for name in ("missing_slices", "unequal_spacing"))
    tilt = np.where(one_way, stacked.table.tilt_deg.to_numpy(), np.nan)
    rows_of = _rows_of(stacked) if len(stacked.keys) else []
    for number in np.flatnonzero(
        holes | unequal | (tilt > TILT_TOLERANCE_DEG) | pd.Index(stacked.keys).isin(list(phases))
    ):
        key, rows = stacked.keys[number], rows_of[number]
        if key in phases:
            phase, by, _ = phases[key]
            parts[number].append(by if phase is None else f"{int(phase.max()) + 1} phases by {by}")
        if holes[number]:
            missing = missing_numbers(stacked.missing_after[rows])
            parts[number].append(f"missing slices {_ranges(missing)} of {len(rows) + len(missing)}")
        if unequal[number]:
            gap = np.diff(stacked.along[rows])
            parts[number].append(f"gaps from {gap.min():.4g} to {gap.max():.4g} mm")
        if tilt[number] > TILT_TOLERANCE_DEG:
            parts[number].append(f"tilted {tilt[number]:.1f} degrees")
    return ["; ".join(part) for part in parts]


def _ranges(numbers: np.ndarray, at_most: int = 20) -> str:
    """ "2, 5-7, ..." for sorted numbers; at most so many ranges are named."""
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    texts = [f"{part[0]}" if len(part) == 1 else f"{part[0]}-{part[-1]}" for part in parts[:at_most]]
    return ", ".join(texts + ["..."] * (len(parts) > at_most))

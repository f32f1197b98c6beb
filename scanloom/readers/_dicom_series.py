"""DICOM images to series: which belong together, in which order they stand, and what is wrong with a stack."""

import numpy as np
import pandas as pd

from scanloom.geometry import TILT_TOLERANCE_DEG, sort_stacks
from scanloom.readers._scan import Grouped, ScanResult


def group_series(scan: ScanResult, settings) -> Grouped:
    """Series by SeriesInstanceUID (a file without one is its own), in stack order, each with its verdict."""
    images = scan.images[scan.images.path.isin(scan.files.path[scan.files.ok])].reset_index(drop=True)
    images["series_key"] = images.series_uid.where(images.series_uid != "", "file " + images.path).astype("str")
    stack, keys = pd.factorize(images.series_key, sort=True)
    orientation = images[[f"orientation_{i}" for i in range(6)]].to_numpy()
    position = images[[f"position_{i}" for i in range(3)]].to_numpy()
    placed = np.isfinite(orientation).all(1) & np.isfinite(position).all(1)
    placed_stack = np.bincount(stack[~placed], minlength=len(keys)) == 0
    placed = placed_stack[stack]

    order, along, table = _in_stack_order(images, stack, orientation, position, placed)
    table = table.reindex(range(len(keys)))
    reason = _reasons(images, stack, keys, table, placed_stack, settings)
    images = images.assign(position_mm=along, stack=stack).iloc[order].reset_index(drop=True)
    images["slice_index"] = images.groupby("stack", sort=False).cumcount()
    series = pd.DataFrame(
        {
            "series_key": pd.Series(keys, dtype="str"),
            "reason": pd.Series(reason, dtype="str"),
            "spacing_z_mm": table.spacing_mm.to_numpy(),
            "tilt_deg": table.tilt_deg.to_numpy(),
        }
    )
    return Grouped(series, images.drop(columns="stack"))


def _in_stack_order(images, stack, orientation, position, placed) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """(order, position along the normal, faults by stack number); stacks without positions: by instance and frame."""
    tie = (images.sop_uid + "/" + images.path + "/" + images.frame.astype(str).str.zfill(6)).to_numpy()
    along = np.full(len(images), np.nan)
    at = np.flatnonzero(placed)
    codes, numbers = np.unique(stack[at], return_inverse=True)
    sorted_ = sort_stacks(numbers, orientation[at], position[at], tie[at])
    along[at] = sorted_.position_mm
    rank = np.zeros(len(images))
    rank[at[sorted_.order]] = np.arange(len(at))
    rest = np.flatnonzero(~placed)
    by_number = np.lexsort((tie[rest], images.frame.to_numpy()[rest], images.instance_number.to_numpy()[rest]))
    rank[rest[by_number]] = np.arange(len(rest))
    return np.lexsort((rank, stack)), along, sorted_.table.set_index(pd.Index(codes))


def _reasons(images, stack, keys, table, placed_stack, settings) -> np.ndarray:
    """The first reason that applies to each series, "" where none does."""
    if not len(images):
        return np.array([], dtype=object)
    count = np.bincount(stack, minlength=len(keys))
    # Written spacings differ in the last digits between files of one series; a tenth of a micrometre is no difference.
    by = images.assign(spacing_y_mm=images.spacing_y_mm.round(4), spacing_x_mm=images.spacing_x_mm.round(4)).groupby(
        stack
    )

    def several(*columns: str) -> np.ndarray:
        return (by[list(columns)].nunique(dropna=False).max(axis=1) > 1).to_numpy()

    def fault(column: str) -> np.ndarray:
        return table[column].eq(True).to_numpy()

    one_file = (by.path.nunique() == 1).to_numpy()
    lost = ~placed_stack & (count > 1)
    verdicts = [
        ("mixed patients", several("raw_patient"), True),
        ("mixed orientation", fault("mixed_orientation"), True),
        ("mixed image size", several("rows", "columns", "samples", "spacing_y_mm", "spacing_x_mm"), True),
        ("too few slices", count < settings.min_slices, True),
        ("multi-frame without positions", lost & one_file, settings.no_positions == "exclude"),
        ("no positions", lost & ~one_file, settings.no_positions == "exclude"),
        ("repeated positions", fault("repeated_positions"), settings.repeated_positions == "exclude"),
        ("missing slices", fault("missing_slices"), settings.missing_slices == "exclude"),
        ("unequal spacing", fault("unequal_spacing"), settings.unequal_spacing == "exclude"),
        ("gantry tilt", (table.tilt_deg > TILT_TOLERANCE_DEG).to_numpy(), settings.gantry_tilt == "exclude"),
    ]
    active = [(name, flags) for name, flags, wanted in verdicts if wanted]
    return np.select([flags for _, flags in active], [name for name, _ in active], default="").astype(object)

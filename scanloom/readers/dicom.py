"""DICOM: single- and multi-frame files of any transfer syntax, stacked into series by where their slices lie.

Files are opened read-only and judged by content. A file or a whole series that is left out has one of the reasons
below, the first that applies in the order in which they stand here:

of a file: "not a DICOM file", "unreadable", "truncated", "no pixel data", "wrong modality: MR", "localizer",
"mosaic of slices", "colour picture in a CT series", "no rescale to HU", "undecodable: <transfer syntax>",
"duplicate instance";
of all files of a series: "mixed patients", "mixed orientation", "mixed image size", "too few slices",
"multi-frame without positions", "no positions", "repeated positions", "missing slices", "unequal spacing",
"gantry tilt".
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from scanloom.geometry import TILT_TOLERANCE_DEG, sort_stacks, spacing_along
from scanloom.readers._dicom_headers import read_header
from scanloom.readers._dicom_pixels import read_frames
from scanloom.readers._scan import (
    DECLARED,
    Grouped,
    ScanResult,
    file_frame,
    find_files,
    image_frame,
    map_files,
    private_errors,
    split_declared,
)
from scanloom.readers._volume import Volume

Verdict = Literal["keep", "exclude"]


class Settings(BaseModel):
    """What to accept. Slices are usable one by one whatever their distances, volumes are not: hence the choices."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ignore: list[str] = Field([], description="patterns of files that are no images (masks/*); counted as declared")
    min_slices: int = Field(1, ge=1, description="series with fewer images are excluded as 'too few slices'")
    missing_slices: Verdict = Field("exclude", description="series with a hole: a gap that is a multiple of the others")
    unequal_spacing: Verdict = Field("keep", description="series whose slice distance changes; exclude for volumes")
    gantry_tilt: Verdict = Field("keep", description="sheared series; exclude for volumes. The angle is recorded")
    repeated_positions: Verdict = Field("exclude", description="series with several images at one place")
    no_positions: Verdict = Field("exclude", description="several images without positions: order is InstanceNumber's")
    check_compressed: bool = Field(True, description="decode compressed files once to find those that cannot be")


def scan(
    root: Path, settings: Settings, *, modality: str | None = None, declared: frozenset[str] = frozenset(), workers=1
) -> ScanResult:
    """All files below root, headers read once; of several with one SOPInstanceUID one stays."""
    candidates, apart = split_declared(find_files(root), settings.ignore, declared)
    headers = map_files(read_header, root, candidates, modality, settings.check_compressed, workers=workers)
    reasons = dict.fromkeys(apart, DECLARED)
    rows = []
    for path, (reason, images) in zip(candidates, headers, strict=True):
        reasons[path] = reason
        rows += [image | {"path": path} for image in images]
    images = image_frame(rows)
    files = file_frame(reasons)
    again = _later_copies(images[images.path.isin(files.path[files.ok])])
    twice = files.path.isin(again)
    files.loc[twice, "ok"] = False
    files.loc[twice, "reason"] = "duplicate instance"
    return ScanResult(files, images)


def _later_copies(images: pd.DataFrame) -> pd.Series:
    """Paths of all but one file per SOPInstanceUID; the one that stays lies beside most of its series, or comes first.

    A stray copy in another folder is then the one that goes, and the series keeps its files together.
    """
    first = images[images.sop_uid != ""].drop_duplicates("path")
    folder = first.path.str.replace(r"[^/]*$", "", regex=True)
    beside = first.groupby([first.series_uid, folder]).path.transform("size")
    first = first.assign(beside=-beside).sort_values(["beside", "path"], kind="stable")
    return first.path[first.duplicated("sop_uid")]


def group_series(scan: ScanResult, settings: Settings) -> Grouped:
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


def _reasons(images, stack, keys, table, placed_stack, settings: Settings) -> np.ndarray:
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


@private_errors
def read_series(root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The images of `rows` (path, frame, slice_index, position_mm; in stack order) as one volume in physical units."""
    run = (rows.path != rows.path.shift()).cumsum()
    parts = [
        read_frames(Path(root) / part.path.iloc[0], part.frame.tolist()) for _, part in rows.groupby(run, sort=False)
    ]
    values = np.concatenate([part.values for part in parts])
    padding = np.concatenate([part.padding for part in parts])
    position = rows.position_mm.to_numpy(dtype=np.float64)
    spacing_z = spacing_along(position) if np.isfinite(position).all() else np.nan
    return Volume(
        values=values,
        unit=parts[0].unit,
        spacing_mm=(spacing_z, *parts[0].spacing_mm),
        padding_mask=padding if padding.any() else None,
        channels=("image",) if values.ndim == 3 else ("red", "green", "blue"),
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
    )

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

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from scanloom.readers._dicom_headers import read_header
from scanloom.readers._dicom_series import group_series
from scanloom.readers._dicom_volume import read_series
from scanloom.readers._scan import (
    DECLARED,
    ScanResult,
    file_frame,
    find_files,
    image_frame,
    map_files,
    split_declared,
)

__all__ = ["Settings", "group_series", "read_series", "scan"]

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

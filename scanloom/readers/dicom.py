"""DICOM: single- and multi-frame files of any storage class and transfer syntax, stacked into series by their places.

Files are opened read-only and judged by content. Only the elements that `_dicom_headers` lists are read; all others,
private ones among them, are dropped. A file or a whole series that is left out has one of the reasons below, the first
that applies in the order in which they stand here:

of a file: "not a DICOM file", "unreadable", "truncated", "directory of files (DICOMDIR)", "no pixel data", "wrong
modality: MR", "localizer", "mosaic of slices", "colour picture in a CT series", "no rescale to HU", "rescale to another
unit than HU" (iodine maps and their like), "undecodable: <transfer syntax>", "burned-in text suspected", "secondary
capture", "text in overlay planes suspected", "private elements", "duplicate instance", "instance UID of another image";
of all files of a series: "mixed patients", "mixed orientation", "mixed image size", "too few slices",
"multi-frame without positions", "no positions", "multi-phase" (phases that are complete, where they are not split),
"repeated positions", "missing slices", "unequal spacing", "gantry tilt".
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from scanloom.readers._dicom_headers import NOT_DICOM, read_header
from scanloom.readers._dicom_series import group_series
from scanloom.readers._dicom_volume import read_blocks, read_series
from scanloom.readers._scan import SECONDARY_CAPTURE, ScanResult, file_frame, image_frame, read_files
from scanloom.strict_models import Strict

__all__ = ["Settings", "group_series", "read_blocks", "read_series", "scan"]

Verdict = Literal["keep", "exclude"]
# What two files of one image say alike.
SHOWN = ["instance_number", "position_0", "position_1", "position_2", "rows", "columns", "temporal_position"]


class Settings(Strict):
    """What to accept. Slices are usable one by one whatever their distances, volumes are not: hence the choices."""

    ignore: list[str] = Field([], description="patterns of files that are no images (masks/*); counted as declared")
    min_slices: int = Field(1, ge=1, description="series with fewer images are excluded as 'too few slices'")
    missing_slices: Verdict = Field("exclude", description="series with a hole: a gap that is a multiple of the others")
    unequal_spacing: Literal["keep", "exclude", "resample"] | None = Field(
        None,
        description="series whose slice distance changes; resample: to equal distances; null: in a study of rank 3 "
        "resample, else keep",
    )
    gantry_tilt: Literal["keep", "exclude", "correct"] | None = Field(
        None,
        description="sheared series, whose angle is recorded; correct: the shear is taken out; null: in a study of "
        "rank 3 correct, else keep",
    )
    repeated_positions: Literal["keep", "exclude", "split"] = Field(
        "split", description="several images at one place: a series per phase if phases are complete, else excluded"
    )
    no_positions: Verdict = Field("exclude", description="several images without positions: order is InstanceNumber's")
    voi_lut: Literal["apply", "ignore"] = Field(
        "ignore", description="apply: values as each file wants them displayed (VOI LUT or first window), no longer HU"
    )
    check_compressed: bool = Field(
        True,
        description="decode compressed and unusual files once to find those that cannot be (with `voi_lut: apply` all)",
    )
    burned_in_text: Verdict = Field("exclude", description="images whose header says that text is burned in")
    secondary_capture: Verdict = Field("keep", description="screen shots and scanned films, which often show names")
    overlay_planes: Verdict = Field("keep", description="files with overlay planes, which may hold text (never read)")
    private_elements: Verdict = Field("keep", description="files with private elements (never read)")


def for_rank(settings: Settings, rank: int) -> Settings:
    """The settings with what depends on the study's rank: a volume is to be a box, slices are right as they are."""
    of_rank = {2: ("keep", "keep"), 3: ("resample", "correct")}[rank]
    chosen = zip(("unequal_spacing", "gantry_tilt"), of_rank, strict=True)
    return settings.model_copy(update={name: choice for name, choice in chosen if getattr(settings, name) is None})


def scan(
    root: Path,
    settings: Settings,
    *,
    modality: str | None = None,
    declared: frozenset[str] = frozenset(),
    workers: int = 1,
    unpack_to: Path | None = None,
) -> ScanResult:
    """All files below root, headers read once; of several with one SOPInstanceUID one stays."""
    read = read_files(
        read_header,
        root,
        modality,
        settings.check_compressed,
        settings.voi_lut,
        ignore=settings.ignore,
        declared=declared,
        foreign=NOT_DICOM,
        workers=workers,
        unpack_to=unpack_to,
    )
    images = image_frame([image | {"path": path} for path, (_, rows) in read.results.items() for image in rows or ()])
    files = file_frame({path: reason for path, (reason, _) in read.results.items()})
    for reason, paths in _unwelcome(images, settings):
        _exclude(files, paths, reason)
    usable = np.repeat(files.ok.to_numpy(), [len(rows or ()) for _, rows in read.results.values()])
    copies, others = _later_copies(images[usable])
    _exclude(files, copies, "duplicate instance")
    _exclude(files, others, "instance UID of another image")
    return ScanResult(files, images, places=read.places)


def recognises(start: bytes) -> bool:
    """True for the first bytes of a DICOM file with a preamble (PS3.10 7.1)."""
    return start[128:132] == b"DICM"


def _exclude(files: pd.DataFrame, paths: pd.Series, reason: str) -> None:
    """Give the reason to those of the paths that have none."""
    if not len(paths):
        return
    now = files.ok & files.path.isin(paths)
    files.loc[now, "reason"] = reason
    files.loc[now, "ok"] = False


def _unwelcome(images: pd.DataFrame, settings: Settings) -> list[tuple[str, pd.Series]]:
    """(reason, paths) of the kinds of files that the settings exclude because they may show or hold identifiers."""
    kinds = [
        (settings.burned_in_text, "burned-in text suspected", images.burned_in == "YES"),
        (settings.secondary_capture, "secondary capture", images.sop_class.str.startswith(SECONDARY_CAPTURE)),
        (settings.overlay_planes, "text in overlay planes suspected", images.overlay_planes > 0),
        (settings.private_elements, "private elements", images.private_elements > 0),
    ]
    return [(reason, images.path[found]) for choice, reason, found in kinds if choice == "exclude"]


def _later_copies(images: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """Paths of all but one file per SOPInstanceUID: copies of that one, and others that say they show something else.

    The file that stays lies beside most of its series, or comes first. A stray copy in another folder is then the one
    that goes, and the series keeps its files together. Tools that remove names sometimes write one UID everywhere.
    """
    first = images[images.sop_uid != ""].drop_duplicates("path")
    if not first.sop_uid.duplicated().any():
        return first.path[:0], first.path[:0]
    folder = first.path.str.replace(r"[^/]*$", "", regex=True)
    beside = first.groupby([first.series_uid, folder]).path.transform("size")
    first = first.assign(beside=-beside).sort_values(["beside", "path"], kind="stable")
    shown = first[SHOWN].astype("str").fillna("")
    alike = (shown == shown.groupby(first.sop_uid).transform("first")).all(axis=1)
    later = first.duplicated("sop_uid")
    return first.path[later & alike], first.path[later & ~alike]

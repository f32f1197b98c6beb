"""The phantom's deliberately bad files, one kind each, and the reason for which each must be excluded."""

import copy
import shutil
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from scanloom.sources import _phantom_files as files
from scanloom.sources._phantom_scanner import Protocol

FOLDER = "extra"
MR_IMAGES = 2


def reasons(slices: int) -> dict[str, str]:
    """Path below the root -> reason, for series of that many slices."""
    single = {
        "truncated.dcm": "truncated",
        "localizer.dcm": "localizer",
        "second_copy.dcm": "duplicate instance",
        "notes.txt": "not a DICOM file",
        "structured_report.dcm": "no pixel data",
    }
    mr = {f"mr/{index}.dcm": "wrong modality: MR" for index in range(MR_IMAGES)}
    gap = {f"missing_slice/{index}.dcm": "missing slices" for index in range(slices) if index != slices // 2}
    return {f"{FOLDER}/{name}": reason for name, reason in {**single, **mr, **gap}.items()}


def write(
    folder: Path, good_series: Path, header: Dataset, stored: np.ndarray, protocol: Protocol, placement: files.Placement
) -> None:
    """All bad files, made from a good series' header, pixels and folder.

    Each kind has its own series, so that the good series stays complete; only the second copy belongs to it.
    """
    count = len(stored)

    def write_slice(name: str, header: Dataset, index: int) -> None:
        sop_uid = files.uid(header.SeriesInstanceUID, index)
        files.write_instance(
            folder / name,
            header,
            sop_uid,
            index + 1,
            placement.position(protocol, protocol.centres_mm[index]),
            stored[index],
        )

    for index in range(count):
        if index != count // 2:
            write_slice(f"missing_slice/{index}.dcm", _own_series(header, 11), index)
    for index in range(MR_IMAGES):
        write_slice(f"mr/{index}.dcm", files.as_mr(_own_series(header, 12)), index)
    write_slice("localizer.dcm", files.as_localizer(_own_series(header, 13)), count // 2)
    write_slice("truncated.dcm", _own_series(header, 14), count // 2)
    whole = (folder / "truncated.dcm").read_bytes()
    (folder / "truncated.dcm").write_bytes(whole[: int(0.6 * len(whole))])
    files.write_report_without_pixels(
        folder / "structured_report.dcm", header, files.uid(header.StudyInstanceUID, "SR")
    )
    shutil.copyfile(min(good_series.iterdir()), folder / "second_copy.dcm")
    (folder / "notes.txt").write_text("Scanned on a quiet Tuesday. This is not an image.\n")


def _own_series(header: Dataset, number: int) -> Dataset:
    """A copy of the header for another series of the same study."""
    own = copy.deepcopy(header)
    own.SeriesInstanceUID = files.uid(header.StudyInstanceUID, number)
    own.SeriesNumber = str(number)
    return own

"""Headers of a folder of DICOM slices: one row of attributes per file, against the usual readers.

The files are copies of real slices (every native one below --images), with their own UIDs, numbers and positions; what
is behind the header is a hole of the right size, because no reader here looks at pixels. The peer is pydicom's
`dcmread(stop_before_pixels=True, specific_tags=...)` with the attributes that the scan reads, each taken once; that
both ways read the same is checked before. `scan` is the whole step: finding the files, checking that all pixels are
there, the table. Further rows, for orientation: pydicom without taking the attributes, SimpleITK's series reader (which
reads identifiers only), dicomsdl where it is installed. Everything is read from the page cache.
"""

import importlib.util
import os
from io import BytesIO
from pathlib import Path

import numpy as np
from _measure import ROOT, compared, interleaved, limited, run

GOAL = 20.0
IMAGES = Path(os.environ.get("SCANLOOM_SHARED_DATA", ROOT.parent / "shared" / "data"))
FEWER = 400  # files for the slow readers; times are per file


def rows(folder: Path, files: int = 2000, rounds: int = 7, images: Path = IMAGES) -> list[dict]:
    """The table."""
    from scanloom.readers import dicom
    from scanloom.readers._dicom_headers import by_walk, read_header
    from scanloom.readers._dicom_values import ATTRIBUTES

    root = folder / "slices"
    paths = copies(native_slices(images if images.is_dir() else phantom(folder / "phantom")), root, files)
    some, keywords = paths[:: max(len(paths) // FEWER, 1)], list(dict(ATTRIBUTES.values()))
    check(some)
    ways = {
        "read_header": lambda: len([read_header(path, None, True) for path in paths]),
        "scan, whole": lambda: len(dicom.scan(root, dicom.Settings()).files),
        "pydicom": lambda: len([attributes(path, keywords) for path in some]),
        "pydicom, attributes not taken": lambda: len([opened(path, keywords) for path in some]),
        "SimpleITK series reader": lambda: by_simpleitk(root),
    }
    if importlib.util.find_spec("dicomsdl"):
        ways["dicomsdl"] = lambda: by_dicomsdl(paths, keywords)
    timings = interleaved(ways, rounds)
    table = []
    for clock in ("wall", "cpu"):
        ms = {name: [1000 * s for s in getattr(timing, f"{clock}_s")] for name, timing in timings.items()}
        for name in ("read_header", "scan, whole"):
            table.append(compared(f"{name}, {clock} time", "ms/file", ms[name], ms["pydicom"], GOAL))
        for name in list(ways)[3:]:
            table.append(compared(f"read_header against {name}, {clock} time", "ms/file", ms["read_header"], ms[name]))
    left = 100 * sum(by_walk(path) is None for path in paths) / len(paths)
    table.append(limited("files that the fast walk leaves to pydicom", "%", [left], 1))
    return table


def phantom(folder: Path) -> Path:
    """The built-in cohort, for machines without real images."""
    from scanloom.sources import phantom

    phantom.fetch(phantom.Settings(patients=8, matrix=64, bad_files=False), folder, seed=0)
    return folder


def native_slices(folder: Path) -> list[Path]:
    """All usable uncompressed slices with a position below the folder."""
    from scanloom.readers import dicom

    found = dicom.scan(folder, dicom.Settings(check_compressed=False))
    native = found.images.transfer_syntax.isin(["Explicit VR Little Endian", "Implicit VR Little Endian"])
    placed = found.images.position_2.notna() & (found.images.frame == -1)
    ok = found.images.path.isin(found.files.path[found.files.ok])
    paths = [folder / path for path in found.images.path[native & placed & ok]]
    paths = [path for path in paths if path.read_bytes()[128:132] == b"DICM"]  # what all peers can read
    if not paths:
        raise ValueError(f"no uncompressed DICOM slice below {folder}: give a folder of images with --images")
    return paths


def copies(slices: list[Path], root: Path, files: int) -> list[str]:
    """Paths of as many files: the slices again and again, each time with other identifiers and without their pixels."""
    import pydicom

    paths = []
    for copy in range(-(-files // len(slices))):
        for slice_ in slices[: files - len(paths)]:
            header = pydicom.dcmread(slice_)
            series = int(header.get("SeriesNumber") or 0)
            study = f"1.2.826.0.1.3680043.8.498.{copy}.{slices.index(slice_) // 64}"
            header.PatientID, header.StudyInstanceUID = f"patient {copy}", study
            header.SeriesInstanceUID, header.SOPInstanceUID = f"{study}.{series}", f"{study}.{series}.{len(paths)}"
            header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
            paths.append(_with_hole(header, root / f"{copy}" / f"{series}" / f"{len(paths):06d}.dcm"))
    return paths


def _with_hole(header, path: Path) -> str:
    """The file as pydicom writes it, its pixels a hole that takes no disk."""
    written = BytesIO()
    header.save_as(written)
    whole = written.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(whole[: whole.index(b"\xe0\x7f\x10\x00") + 12])
        file.truncate(len(whole))
    return str(path)


def opened(path: str, keywords: list[str]):
    """pydicom's data set."""
    import pydicom

    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=keywords)


def attributes(path: str, keywords: list[str]) -> list:
    """Values as pydicom gives them."""
    header = opened(path, keywords)
    return [header.get(keyword) for keyword in keywords]


def check(paths: list[str]) -> None:
    """Raise ValueError unless the rows hold what pydicom reads."""
    from scanloom.readers._dicom_headers import read_header
    from scanloom.readers._dicom_values import ATTRIBUTES

    places = {"rows": ("Rows", 0), "columns": ("Columns", 0), "bits_stored": ("BitsStored", 0)}
    places |= {"spacing_y_mm": ("PixelSpacing", 0), "spacing_x_mm": ("PixelSpacing", 1)}
    places |= {f"position_{i}": ("ImagePositionPatient", i) for i in range(3)}
    places |= {f"orientation_{i}": ("ImageOrientationPatient", i) for i in range(6)}
    columns = {name: (keyword, 0) for name, (keyword, _) in ATTRIBUTES.items() if name != keyword} | places
    for path in paths:
        (row,) = read_header(path, None, True)[1]
        header = opened(path, None)
        for column, (keyword, number) in columns.items():
            value = header.get(keyword)
            if value is not None and not same(row.get(column, np.nan), value, number):
                raise ValueError(f"read_header and pydicom differ in {keyword}")


def same(ours: str | float, theirs, number: int) -> bool:
    """Whether a column is that value of pydicom's: the text, or the number at this place."""
    if isinstance(ours, str):
        text = theirs if isinstance(theirs, str) else "\\".join(theirs)
        return text.strip().startswith(ours)
    values = list(theirs) if hasattr(theirs, "__iter__") else [theirs]
    return bool(np.isnan(ours)) if not values else ours == float(values[number])


def by_simpleitk(root: Path) -> int:
    """Files in the series that SimpleITK finds."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader
    folders = {str(file.parent) for file in root.glob("*/*/*.dcm")}
    series = [(folder, uid) for folder in folders for uid in reader.GetGDCMSeriesIDs(folder)]
    return sum(len(reader.GetGDCMSeriesFileNames(folder, uid)) for folder, uid in series)


def by_dicomsdl(paths: list[str], keywords: list[str]) -> int:
    """Files whose attributes were read up to the pixels."""
    import dicomsdl

    return len([dicomsdl.open_file(path, 0x7FE00000, False).getValues(keywords) for path in paths])


if __name__ == "__main__":
    run(
        __file__,
        __doc__,
        rows,
        {
            "files": {"type": int, "default": 2000, "help": "copies to scan"},
            "images": {"type": Path, "default": IMAGES, "metavar": "DIR", "help": "folder of real DICOM slices"},
        },
    )

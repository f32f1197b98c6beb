"""The catalogue's tables after all headers were read: time and memory per image, and how they grow.

The images are invented columns, as `scan` gives them: nothing is read from a disk, because what is asked is whether
anything besides the headers (benchmarks/header_scan.py) costs time. Two shapes: series of 100 slices, and single images
as in a set of radiographs. Each size runs in a process of its own, so that peak memory is that of the size; memory is
counted above the same process with 1,000 images. With a condition, as most dataset files have one.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from _measure import ROOT, limited, run

GOAL_US = 60.0  # per image: less than to open a file and walk its header
CONDITION = "modality = 'CT' AND slice_thickness_mm <= 5"
SHAPES = {"series of 100": 100, "single images": 1}


def rows(folder: Path, images: int = 300_000, rounds: int = 3) -> list[dict]:
    """The table."""
    small = measured(1000, 100)[1]
    table = []
    for name, per_series in SHAPES.items():
        times, peaks = zip(*(measured(images, per_series) for _ in range(rounds)), strict=True)
        what = f"{images:,} images, {name}"
        table.append(limited(what, "us CPU/image", [1e6 * seconds / images for seconds in times], GOAL_US))
        table.append(limited(f"{what}: peak memory", "KB/image", [(peak - small) / images for peak in peaks]))
    return table


def measured(images: int, per_series: int) -> tuple[float, float]:
    """(CPU seconds, peak KB of the process) of one catalogue in a new process."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(images), str(per_series)], capture_output=True, check=True
    )
    return tuple(json.loads(done.stdout))


def one(images: int, per_series: int) -> tuple[float, float]:
    """The same, in this process."""
    sys.path.insert(0, str(ROOT))
    from scanloom.cataloguing import catalogue
    from scanloom.readers import dicom
    from scanloom.readers._scan import ScanResult, file_frame

    found = invented(images, per_series)
    files = file_frame(dict.fromkeys(found.path, ""))
    reader = SimpleNamespace(scan=lambda *_, **__: ScanResult(files, found), group_series=dicom.group_series)
    catalogue.plugins = SimpleNamespace(load=lambda *_: reader)
    catalogue.find_files = lambda root: found.path.tolist()
    started = time.process_time()
    built = catalogue.build_catalogue(
        "dicom", dicom.Settings(), Path(), dataset="d", salt="s", chunks=8, modality="CT", where=CONDITION
    )
    seconds = time.process_time() - started
    if built.books["used"] != images:
        raise RuntimeError(f"{built.books} for {images} images")
    return seconds, float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def invented(images: int, per_series: int):
    """Columns of axial CT slices of 5 mm, three series per patient."""
    from scanloom.readers._scan import images_alike

    series, number = np.divmod(np.arange(images), per_series)

    def text(pattern: str, *values: np.ndarray) -> np.ndarray:
        return np.array([pattern.format(*row) for row in zip(*values, strict=True)], dtype=object)

    columns = {
        "path": text("patient{:06d}/series{:07d}/{:04d}.dcm", series // 3, series, number),
        "sop_uid": text("1.2.840.{}.{}", series, number),
        "series_uid": text("1.2.840.{}", series),
        "study_uid": text("1.2.{}", series // 2),
        "raw_patient": text("PAT{:06d}", series // 3),
        "kernel": text("B{}0f", series % 7),
        "modality": "CT",
        "rows": 512,
        "columns": 512,
        "slice_thickness_mm": 5.0,
        "spacing_y_mm": 0.5,
        "spacing_x_mm": 0.5,
        "instance_number": number.astype(float),
        "position_0": 0.0,
        "position_1": 0.0,
        "position_2": 5.0 * number,
    }
    axial = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return images_alike([(images, columns | {f"orientation_{i}": value for i, value in enumerate(axial)})])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        run(
            __file__,
            __doc__,
            rows,
            {"images": {"type": int, "default": 300_000, "help": "images in the catalogue"}},
        )

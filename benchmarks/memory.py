"""Memory of preprocessing and sharding a chunk, in volumes above the library, for 10 and for 40 series of CT.

A volume is one series as float32, as readers give it. Each measurement is a new process that runs what the rules run
(`chunk_parts`, `write_parts`, `read_parts`, `write_chunk`); its peak resident memory is the kernel's, less that of the
same process on one series of two small slices, which has imported and run everything. Pipelines: slices through
three windows to 256 pixels; volumes at 1 mm isotropic cut to 128 voxels a side; and two that need the whole series at
full size, its percentiles and its skull. "growth" is what each further series adds: the rows of the tables that
describe its slices, and holes that the allocator leaves.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from _measure import ROOT, limited, run

GOAL, GROWTH_GOAL = 1.5, 0.01
SLICES, SIZE = 32, 512
PIPELINES = {
    "windows, rank 2": {
        "rank": 2,
        "dtype": "uint8",
        "steps": [
            {"name": "hu_window", "settings": {"windows": ["brain", "subdural", "bone"]}},
            {"name": "resize", "settings": {"size_px": [256, 256]}},
        ],
    },
    "1 mm isotropic, rank 3": {
        "rank": 3,
        "dtype": "uint16",
        "steps": [
            {"name": "resample", "settings": {"spacing_mm": [1, 1, 1]}},
            {"name": "crop_or_pad", "settings": {"size_px": [128, 128, 128]}},
        ],
    },
    "percentiles at full size, rank 3": {
        "rank": 3,
        "dtype": "uint8",
        "steps": [{"name": "percentile", "settings": {"foreground": "otsu"}}],
    },
    "skull stripped at full size, rank 3": {
        "rank": 3,
        "dtype": "uint8",
        "steps": [
            {"name": "strip_skull", "settings": {}},
            {"name": "hu_window", "settings": {"windows": ["brain"]}},
        ],
    },
}


def rows(folder: Path, counts: tuple[int, int] = (10, 40), slices: int = SLICES, size: int = SIZE, rounds: int = 3):
    """The table; counts: numbers of series."""
    volume_mb = slices * size * size * 4 / 1e6
    for name, count, shape in (("tiny", 1, (2, 64)), *((str(count), count, (slices, size)) for count in counts)):
        write_series(folder / name, count, *shape)
        chunk_rows(folder / name)
    table = []
    for name, pipeline in PIPELINES.items():
        found = {n: [peak_mb(folder / n, pipeline) for _ in range(rounds)] for n in ("tiny", *map(str, counts))}
        base = min(found.pop("tiny"))
        above = {n: [(mb - base) / volume_mb for mb in peaks] for n, peaks in found.items()}
        for n, volumes in above.items():
            table.append(limited(f"{name}: {n} series", "volumes", volumes, GOAL))
        first, last = (above[str(count)] for count in counts)
        growth = [(b - a) / (counts[1] - counts[0]) for a, b in zip(sorted(first), sorted(last), strict=True)]
        table.append(limited(f"{name}: growth", "volumes/series", growth, GROWTH_GOAL))
        table.append(limited(f"{name}: the library alone", "MB", [base]))
    return table


def write_series(folder: Path, count: int, slices: int, size: int) -> None:
    """DICOM files of so many CT series, 16 bits, uncompressed."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    inside = np.hypot(y / 0.8, x / 0.65)  # a head of brain and bone in air
    base = np.select([inside < 0.9, inside < 1], [1060, 2000], 24) + rng.integers(0, 20, (size, size))
    base = base.astype(np.uint16)
    for series in range(count):
        place = folder / f"{series:03d}"
        place.mkdir(parents=True, exist_ok=True)
        uid = generate_uid(entropy_srcs=[str(folder), str(series)])
        for number in range(slices):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
            meta.MediaStorageSOPInstanceUID = f"{uid[:50]}.{number}"
            header = FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
            header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
            header.PatientID, header.StudyInstanceUID, header.SeriesInstanceUID = f"p{series}", uid, uid
            header.Modality, header.InstanceNumber = "CT", number
            header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, 5 * number], [1, 0, 0, 0, 1, 0]
            header.PixelSpacing, header.SliceThickness = [0.5, 0.5], 5
            header.Rows = header.Columns = size
            header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
            header.BitsAllocated = header.BitsStored = 16
            header.HighBit, header.PixelRepresentation = 15, 0
            header.RescaleSlope, header.RescaleIntercept = 1, -1024
            header.PixelData = np.roll(base, series + number).tobytes()
            pydicom.dcmwrite(place / f"{number:03d}.dcm", header, enforce_file_format=True)


def chunk_rows(root: Path) -> None:
    """The list of the chunk's images beside the folder, which another job makes."""
    from scanloom import plugins
    from scanloom.cataloguing.catalogue import build_catalogue

    settings = plugins.settings("readers", "dicom", {})
    rows = build_catalogue("dicom", settings, root, dataset="memory", salt="s", chunks=1).chunk_rows[0]
    rows.to_parquet(f"{root}.parquet")


def peak_mb(root: Path, pipeline: dict) -> float:
    """Peak resident memory, in MB, of a new process that preprocesses and shards the folder as one chunk."""
    command = [sys.executable, __file__, "--chunk", str(root), json.dumps(pipeline)]
    done = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(done.pid, 0)
    if status:
        raise RuntimeError(f"the process that preprocesses {root.name} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss * 1024 / 1e6


def one_chunk(root: Path, pipeline: dict) -> None:
    """What preprocess_chunk and shard_chunk do, with all series in one chunk."""
    import pandas as pd

    from scanloom import plugins
    from scanloom.identity import item_ids
    from scanloom.images.chunk_images import read_parts, write_parts
    from scanloom.images.preprocessing import chunk_parts
    from scanloom.shards.shard_writer import write_chunk
    from scanloom.splitting.splits import SPLITS

    reader, settings = plugins.load("readers", "dicom"), plugins.settings("readers", "dicom", {})
    rows = pd.read_parquet(f"{root}.parquet")
    into = root.parent / f"{root.name}-made"
    steps, rank, dtype = pipeline["steps"], pipeline["rank"], pipeline["dtype"]
    parts = chunk_parts(
        lambda series: reader.read_series(root, series, settings),
        rows,
        steps,
        rank,
        dtype,
        lambda series, *choices: reader.read_blocks(root, series, settings, *choices),
    )
    files = into / "000.npy", into / "000.npz"
    write_parts(*files, parts, steps, rank, dtype)
    table = pd.DataFrame({name: rows[name] for name in ("series_id", "patient_id", "slice_index")})
    table = table.assign(item_id=item_ids(table.series_id, table.slice_index), split="train")
    shards = {split: into / f"{split}.tfrecord" for split in SPLITS}
    write_chunk(read_parts(*files), table, [], "memory", 0, shards, into / "000.json")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--chunk"]:
        one_chunk(Path(sys.argv[2]), json.loads(sys.argv[3]))
    else:
        run(__file__, __doc__, rows)

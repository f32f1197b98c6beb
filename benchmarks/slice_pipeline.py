"""From DICOM slices to a shard: three CT windows of 256 pixels, uint8, one process, against the usual ways.

Ours is what a study runs on a chunk of 16 series: `chunk_parts` (the DICOM reader, the steps resize and hu_window,
rounding to uint8) and the records of the shard writer, part by part. What a study does besides, a file between the two
rules and SHA-256 of the shards, is measured by shard_writing. The peers read with pydicom or SimpleITK and write the
same pixels with tf.io.TFRecordWriter and tf.train.Example:

- pydicom, windows, OpenCV: apply_modality_lut, each window in NumPy, each resized with INTER_AREA;
- pydicom, OpenCV, windows: float32, resized once, windowed small: the best order of the same libraries;
- SimpleITK: Resample (linear) once, then IntensityWindowing per window;
- float64, scikit-image: each window in float64, anti-aliased; only where scikit-image is installed
  (`uv pip install scikit-image`; the project does not need it).

Rows "to images" leave the writing out on both sides; rows "two processes" compare wall times of one process (peer) and
two (ours) for as many slices. All work on one thread per process, on files in the page cache. Before anything is timed,
our pixels must lie within half a grey level of the float64 formula, and the peers' close to them.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from _dicom import ct_slices
from _measure import compared, interleaved, run

WINDOWS = ("brain", "subdural", "bone")
GOALS = {"pydicom, windows, OpenCV": 7.0, "SimpleITK": 15.0, "float64, scikit-image": 50.0}


def rows(
    folder: Path, slices: int = 28, copies: int = 16, rounds: int = 15, size: int = 256, processes: bool = True
) -> list[dict]:
    """The table; copies: series in our chunk, all of the same slices."""
    import cv2
    import SimpleITK

    from scanloom.training.freed_memory import keep_freed_memory

    keep_freed_memory()  # as the workflow's script does; the peers have it, too
    cv2.setNumThreads(1)
    SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    files = ct_slices(folder, slices)
    chunk = catalogued(files, copies)
    files = [chunk.root / path for path in chunk.images.path[: len(files)]]
    two = two_processes(chunk, size, folder, rounds) if processes else []
    peers = {name: way for name, way in usual_ways(size).items() if way is not None}
    theirs = {name: [way(path) for path in files] for name, way in peers.items()}
    check(np.concatenate([part.images for part in our_parts(chunk, size)])[: len(files)], theirs, files)
    ways = {("ours", "shard"): lambda: our_shard(chunk, size, folder / "ours.tfrecord")}
    ways["ours", "images"] = lambda: our_images(chunk, size)
    for name, way in peers.items():
        ways[name, "shard"] = lambda way=way: usual_shard([way(path) for path in files], folder / "usual.tfrecord")
        ways[name, "images"] = lambda way=way: len([way(path) for path in files])
    timings = interleaved(ways, rounds)
    table = []
    for end in ("shard", "images"):
        for clock in ("CPU", "wall"):
            ms = {
                name: [1000 * s for s in (timing.cpu_s if clock == "CPU" else timing.wall_s)]
                for (name, made), timing in timings.items()
                if made == end
            }
            for name in peers:
                goal = GOALS.get(name) if end == "shard" else None
                table.append(compared(f"to {end}, {name}, {clock}", "ms/slice", ms["ours"], ms[name], goal))
    return table + two


class Chunk(NamedTuple):
    """What the catalogue hands to preprocessing, rows in stack order, and the splits to the shard writer."""

    root: Path
    images: pd.DataFrame
    items: pd.DataFrame


def catalogued(files: list[Path], copies: int) -> Chunk:
    """The series `copies` times."""
    from scanloom.cataloguing.catalogue import CHUNK_COLUMNS
    from scanloom.readers import dicom

    root = files[0].parent
    scan = dicom.scan(root, dicom.Settings())
    images = dicom.group_series(scan, dicom.Settings()).images
    chosen = images[images.path.isin([file.name for file in files])]
    series = [chosen.assign(series_id=f"{number:016x}") for number in range(copies)]
    images = pd.concat(series, ignore_index=True)
    images = images[[name for name in CHUNK_COLUMNS if name in images]]
    items = images[["series_id", "slice_index"]].assign(patient_id="p", split="train", level=0.0)
    items = items.assign(item_id=items.series_id + "-" + items.slice_index.astype("str"), row=np.arange(len(items)))
    return Chunk(root, images, items)


def our_parts(chunk: Chunk, size: int):
    """`chunk_parts` of the chunk: some images of one series after the other."""
    from scanloom.images.preprocessing import chunk_parts
    from scanloom.readers import dicom

    settings = dicom.Settings()
    steps = [
        {"name": "resize", "settings": {"size_px": [size, size]}},
        {"name": "hu_window", "settings": {"windows": list(WINDOWS)}},
    ]
    return chunk_parts(
        lambda rows: dicom.read_series(chunk.root, rows, settings),
        chunk.images,
        steps,
        2,
        "uint8",
        lambda rows, *how: dicom.read_blocks(chunk.root, rows, settings, *how),
    )


def our_images(chunk: Chunk, size: int) -> int:
    """Images made, one part after the other; their number."""
    return sum(len(part.images) for part in our_parts(chunk, size))


class Rows:
    """Images of parts that are made when they are asked for, one after the other, as `serialized_records` does.

    What else is known of each image is that of the first one: the chunk's series are copies.
    """

    def __init__(self, parts: Iterator, count: int):
        self._parts, self._start = parts, 0
        self._part = first = next(parts)
        self.shape, self.dtype = (count, *first.images.shape[1:]), first.images.dtype
        self.about = {
            name: np.repeat(getattr(first, name)[np.newaxis], count, axis=0)
            for name in ("spacing_mm", "slope", "intercept")
        }

    def __getitem__(self, row: int) -> np.ndarray:
        while row >= self._start + len(self._part.images):
            self._start += len(self._part.images)
            self._part = next(self._parts)
        return self._part.images[row - self._start]


def our_shard(chunk: Chunk, size: int, file: Path) -> int:
    """Images to a TFRecord file with all that a shard's records hold; their number."""
    from scanloom.shards.shard_writer import serialized_records, write_records

    images = Rows(our_parts(chunk, size), len(chunk.items))
    with open(file, "wb") as out:
        records = serialized_records({"images": images, **images.about}, chunk.items, ["level"], "benchmark")
        return write_records(out, records)


def usual_shard(images: list[np.ndarray], file: Path) -> int:
    """Images to a TFRecord file by TensorFlow; their number."""
    import tensorflow as tf

    def feature(value: bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(file)) as writer:
        for number, image in enumerate(images):
            features = {
                "image": feature(image.tobytes()),
                "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=image.shape)),
                "label": tf.train.Feature(float_list=tf.train.FloatList(value=[0.0])),
                "item_id": feature(f"0123456789abcdef-{number:04d}".encode()),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return len(images)


def usual_ways(size: int) -> dict:
    """Name -> function of a path that gives uint8 `[size, size, windows]`; None where a library is missing."""
    return {
        "pydicom, windows, OpenCV": lambda path: windows_first(path, size),
        "pydicom, OpenCV, windows": lambda path: resize_first(path, size),
        "SimpleITK": lambda path: with_simpleitk(path, size),
        "float64, scikit-image": with_scikit_image(size),
    }


def bounds() -> list[tuple[float, float]]:
    """Lowest and highest HU of each window."""
    from scanloom.steps.hu_window import bounds_hu

    return [bounds_hu(window) for window in WINDOWS]


def windows_first(path: Path, size: int) -> np.ndarray:
    """pydicom's physical values, every window and its resize by itself."""
    import cv2
    import pydicom
    from pydicom.pixels import apply_modality_lut

    header = pydicom.dcmread(path)
    hu = apply_modality_lut(header.pixel_array, header)
    made = []
    for low, high in bounds():
        grey = ((np.clip(hu, low, high) - low) * (255 / (high - low))).astype(np.uint8)
        made.append(cv2.resize(grey, (size, size), interpolation=cv2.INTER_AREA))
    return np.stack(made, axis=-1)


def resize_first(path: Path, size: int) -> np.ndarray:
    """pydicom's pixels as float32, resized once."""
    import cv2
    import pydicom

    header = pydicom.dcmread(path)
    hu = cv2.resize(header.pixel_array.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
    hu = hu * float(header.RescaleSlope) + float(header.RescaleIntercept)
    made = [np.clip((hu - low) * (255 / (high - low)), 0, 255).astype(np.uint8) for low, high in bounds()]
    return np.stack(made, axis=-1)


def with_simpleitk(path: Path, size: int) -> np.ndarray:
    """Resampled once on a grid with the same centre, then windowed."""
    import SimpleITK as itk

    image = itk.ReadImage(str(path))[:, :, 0]
    step = [n / size for n in image.GetSize()]
    spacing = [mm * s for mm, s in zip(image.GetSpacing(), step, strict=True)]
    origin = image.TransformContinuousIndexToPhysicalPoint([(s - 1) / 2 for s in step])
    grid = [size, size], itk.Transform(), itk.sitkLinear, origin, spacing, image.GetDirection(), 0.0, itk.sitkFloat32
    small = itk.Resample(image, *grid)
    made = [itk.Cast(itk.IntensityWindowing(small, low, high, 0, 255), itk.sitkUInt8) for low, high in bounds()]
    return np.stack([itk.GetArrayFromImage(one) for one in made], axis=-1)


def with_scikit_image(size: int):
    """Each window in float64, anti-aliased; None without scikit-image."""
    try:
        from skimage.transform import resize
    except ImportError:
        return None
    import pydicom

    def way(path: Path) -> np.ndarray:
        header = pydicom.dcmread(path)
        hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        made = [
            resize((np.clip(hu, low, high) - low) / (high - low), (size, size), anti_aliasing=True)
            for low, high in bounds()
        ]
        return (np.stack(made, axis=-1) * 255).astype(np.uint8)

    return way


def check(ours: np.ndarray, peers: dict[str, list[np.ndarray]], files: list[Path]) -> None:
    """Raise ValueError where our pixels are not the formula's, or a peer's are of something else.

    The formula: HU, not below air, the mean over each new pixel's area, (HU - low) / (high - low) * 255.
    """
    import cv2
    import pydicom

    for image, path in zip(ours, files, strict=True):
        header = pydicom.dcmread(path)
        hu = header.pixel_array * float(header.RescaleSlope) + float(header.RescaleIntercept)
        small = cv2.resize(np.maximum(hu, -1024), image.shape[1::-1], interpolation=cv2.INTER_AREA)
        for channel, (low, high) in enumerate(bounds()):
            exact = (np.clip(small, low, high) - low) * (255 / (high - low))
            if np.abs(image[..., channel] - exact).max() > 0.501:
                raise ValueError("our pixels are more than half a grey level from the formula's")
    for name, images in peers.items():
        if np.abs(np.stack(images).astype(float) - ours).mean() > 6:
            raise ValueError(f"{name} makes other pictures")


def two_processes(chunk: Chunk, size: int, folder: Path, rounds: int, times: int = 4) -> list[dict]:
    """Wall time of `times` chunks by one process and by two, which both are warm."""
    context = get_context("spawn")
    table = []
    work = [(chunk, size, folder / f"job{number}.tfrecord") for number in range(times)]
    with ProcessPoolExecutor(1, context) as one, ProcessPoolExecutor(2, context) as two:

        def by(pool):
            return lambda: sum(pool.map(_job, work))

        timings = interleaved({"one": by(one), "two": by(two)}, rounds)
        wall = {name: [1000 * s for s in timing.wall_s] for name, timing in timings.items()}
        table.append(compared("to shard, two processes and one, wall", "ms/slice", wall["two"], wall["one"], 1.8))
    return table


def _job(work) -> int:
    chunk, size, folder = work
    return our_shard(chunk, size, folder)


if __name__ == "__main__":
    run(__file__, __doc__, rows)

"""A chunk's preprocessed images on the disk, written and read one part at a time: memory does not grow with the chunk.

Two files: an NPY array of the images, `[n, *spatial, channels]`, and an NPZ beside it with what is known of each of
them. The NPY header that NumPy writes leaves room for the first axis to grow, so the images are appended and the header
is written again at the end. The NPZ holds the images' CRC-32C (an NPZ has checksums of its own, an NPY has none).
"""

import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import numpy as np

from scanloom.atomic_files import whole_file

PIECE = 1 << 18  # bytes read at a time to compare the checksum


class DamagedChunk(ValueError):
    """Preprocessed images that are not what was written."""


class Part(NamedTuple):
    """Some images of one series.

    images: uint8 or uint16 [n, *spatial, channels]. slice_index: int64 [n]. spacing_mm: float32 [rank]. slope,
    intercept: float64 [channels], physical value = slope * stored + intercept. unit: of physical values. channels:
    names.
    """

    series_id: str
    images: np.ndarray
    slice_index: np.ndarray
    spacing_mm: np.ndarray
    slope: np.ndarray
    intercept: np.ndarray
    unit: str
    channels: tuple[str, ...]


class StoredImages:
    """Images of an NPY file, read one by one: `len`, `shape`, `dtype`, and `images[row]` gives a new array."""

    def __init__(self, path: Path):
        with open(path, "rb") as file:
            np.lib.format.read_magic(file)
            self.shape, _, self.dtype = np.lib.format.read_array_header_1_0(file)
            self._start = file.tell()
        self.ndim = len(self.shape)
        self._size = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  open as long as the images are asked for

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, row: int) -> np.ndarray:
        image = np.empty(self.shape[1:], self.dtype)
        got = os.preadv(self._file.fileno(), [image.reshape(-1).view(np.uint8)], self._start + int(row) * self._size)
        if got != self._size:
            raise DamagedChunk(f"{self._file.name} ends within image {row}: delete it and run again")
        return image


def write_parts(
    images_file: Path, about_file: Path, parts: Iterable[Part], steps: list[dict], rank: int, dtype: str
) -> tuple[int, ...]:
    """Write the parts one after the other; the shape of the images. Same parts, same bytes.

    All images have one shape, type and channels (`preprocessing.chunk_parts` sees to it). steps: what was
    done to the images, noted with them. rank, dtype: of an array without images, where there are no parts. Both files
    appear whole or not at all.
    """
    rows, shape, dtype, channels, check = [], (0,) * (rank + 2), np.dtype(dtype), (), 0
    with whole_file(images_file) as file:
        _write_header(file, shape, dtype)
        for part in parts:
            if not rows:
                shape, dtype, channels = (0, *part.images.shape[1:]), part.images.dtype, part.channels
                file.seek(0)
                _write_header(file, shape, dtype)
            images = np.ascontiguousarray(part.images)
            check = google_crc32c.extend(check, images)
            file.write(images)
            rows.append(part._replace(images=len(images)))
            shape = (shape[0] + len(images), *shape[1:])
            del part, images  # else they would stay until the next series is ready
        file.seek(0)
        _write_header(file, shape, dtype)
    counts = [row.images for row in rows]

    def per_image(values: list, empty_dtype) -> np.ndarray:
        return np.repeat(np.stack(values), counts, axis=0) if rows else np.zeros((0,), empty_dtype)

    with whole_file(about_file) as file:
        np.savez(
            file,
            series_id=np.repeat(np.array([row.series_id for row in rows], dtype="U"), counts),
            slice_index=np.concatenate([np.zeros(0, np.int64), *(row.slice_index for row in rows)]),
            spacing_mm=per_image([row.spacing_mm for row in rows], np.float32),
            slope=per_image([row.slope for row in rows], np.float64),
            intercept=per_image([row.intercept for row in rows], np.float64),
            unit=np.array(joined_unit(row.unit for row in rows)),
            channels=np.array(channels, dtype="U"),
            steps=np.array(json.dumps(steps)),
            images_crc32c=np.array(check, np.uint32),
        )
    return shape


def joined_unit(units: Iterable[str]) -> str:
    """The unit of all; "" where they differ."""
    found = set(units)
    return found.pop() if len(found) == 1 else ""


def read_parts(images_file: Path, about_file: Path) -> dict:
    """What `write_parts` wrote: the arrays of the NPZ, and `images` as StoredImages. Raises DamagedChunk."""
    try:
        with np.load(about_file, allow_pickle=False) as archive:
            chunk = {name: archive[name] for name in archive.files}
        check, images = int(chunk.pop("images_crc32c")), StoredImages(images_file)
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise DamagedChunk(f"{about_file} and the images beside it cannot be read: delete both and run again") from None
    if len(images) != len(chunk["series_id"]) or _crc32c(images_file, len(images)) != check:
        raise DamagedChunk(f"{images_file} is not what {Path(about_file).name} describes: delete both and run again")
    return chunk | {"images": images}


def _write_header(file, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """The NPY header; its length is the same for every number of images (numpy.lib.format leaves 21 digits)."""
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)


def _crc32c(path: Path, count: int) -> int:
    check = 0
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while count and (piece := file.read(PIECE)):
            check = google_crc32c.extend(check, piece)
    return check

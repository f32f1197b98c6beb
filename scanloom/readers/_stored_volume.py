"""Volumes that one file (or a header with a data file) holds: NIfTI, MetaImage, NRRD. What their readers share.

Headers are parsed by the reader; the numbers are read here, piece by piece, with their number and checksum checked,
because the usual libraries fill up what a truncated NIfTI lacks and accept a damaged compressed MetaImage.
"""

import bz2
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from scanloom.readers._scan import (
    Grouped,
    ScanResult,
    file_frame,
    images_alike,
    one_image_per_series,
    read_files,
)
from scanloom.readers._stacked_files import joined, paths_of, stacked
from scanloom.readers._volume import Volume, fill_what_is_not_finite
from scanloom.strict_models import Strict

PIECE = {"": 1 << 20, "zlib": 1 << 16, "bzip2": 1 << 10}  # packed bytes at a time: what they become stays below 70 MB
MAX_AXIS = 1 << 16
COLOURS = {1: ("image",), 3: ("red", "green", "blue"), 4: ("red", "green", "blue", "alpha")}


class Settings(Strict):
    """What the files do not say."""

    ignore: list[str] = Field([], description="patterns of files that are no images (labels/*); counted as declared")
    fourth_axis: Literal["series", "channels", "exclude"] = Field(
        "series", description="what several volumes in one file are: a series each, or channels of one series"
    )
    unit: Literal["from_type", "arbitrary", "HU"] = Field(
        "from_type",
        description="what values mean, which the files do not say. HU for CT; from_type: 0-255 and 0-65535 for "
        "unscaled uint8 and uint16, else arbitrary; arbitrary: for sets that mix the types",
    )
    min_slices: int = Field(1, ge=1, description="series with fewer slices are excluded as 'too few slices'")
    stacked: list[str] = Field(
        [], description="ends of the names of files that are channels of one series, in their order: [_t1, _flair]"
    )

    @field_validator("stacked")
    @classmethod
    def _two_different_ends(cls, ends: list[str]) -> list[str]:
        if ends and (len(set(ends)) < max(2, len(ends)) or "" in ends):
            raise ValueError(f"expected two or more different ends of file names, not {ends}")
        return ends


class Refused(Exception):
    """The file cannot be used; the text is its reason."""


@dataclass(frozen=True)
class Stored:
    """Where a file's numbers are and what they mean.

    data: file that holds them; at: where they (or the packed stream) start in it; skip: bytes of the unpacked stream
    before them; packing: "", "zlib" (zlib or gzip stream) or "bzip2".
    shape: (volumes, z, y, x, channels), dtype: of a stored number. Channels are neighbours in the file.
    spacing_mm: z, y, x; NaN: unknown. affine_lps: as in Volume. Physical value = slope * stored + intercept.
    """

    data: Path
    at: int
    skip: int
    packing: str
    shape: tuple[int, int, int, int, int]
    dtype: np.dtype
    spacing_mm: tuple[float, float, float]
    affine_lps: np.ndarray | None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def volume_bytes(self) -> int:
        """Bytes of one volume."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


def checked(stored: Stored) -> Stored:
    """The same. Raises Refused for shapes, types and geometry that no picture has."""
    if stored.dtype.kind not in "iuf" or stored.dtype.itemsize > 8:
        raise Refused("undecodable: values that are not real numbers")
    if not all(0 < size <= MAX_AXIS for size in stored.shape):
        raise Refused("undecodable: impossible size")
    if stored.shape[4] not in COLOURS:
        raise Refused("not an image (vector field)")
    if stored.affine_lps is not None and not np.isfinite(stored.affine_lps).all():
        raise Refused("undecodable: impossible geometry")
    if not (math.isfinite(stored.slope) and math.isfinite(stored.intercept)):
        raise Refused("undecodable: impossible scaling")
    return stored


def _unpacked(stored: Stored) -> Iterator[bytes]:
    """The bytes from `at` on, unpacked, piece by piece. Raises Refused("truncated") for a damaged packed stream."""
    with open(stored.data, "rb") as file:
        file.seek(stored.at)
        if not stored.packing:
            while piece := file.read(PIECE[""]):
                yield piece
            return
        new = bz2.BZ2Decompressor if stored.packing == "bzip2" else lambda: zlib.decompressobj(zlib.MAX_WBITS | 32)
        unpacker = new()
        try:
            while piece := file.read(PIECE[stored.packing]):
                while piece:
                    yield unpacker.decompress(piece)
                    # A gzip file may be several streams one after the other; padding after the last one is none.
                    piece = unpacker.unused_data.lstrip(b"\0") if unpacker.eof else b""
                    if piece:
                        unpacker = new()
        except (zlib.error, OSError, EOFError):
            raise Refused("truncated") from None
        if not unpacker.eof:
            raise Refused("truncated")


def first_bytes(path: Path, count: int) -> tuple[bytes, str]:
    """(the first bytes of a file, unpacked where it is a gzip file; its packing). Raises Refused("truncated")."""
    with open(path, "rb") as file:
        start = file.read(count)
    if not start.startswith(b"\x1f\x8b"):
        return start, ""
    whole = Stored(Path(path), 0, 0, "zlib", (1, 1, 1, 1, 1), np.dtype("u1"), (np.nan,) * 3, None)
    head = b""
    for piece in _unpacked(whole):
        head += piece
        if len(head) >= count:
            break
    return head[:count], "zlib"


def check_data(stored: Stored) -> None:
    """Read all numbers once. Raises Refused unless they are all there, undamaged, and some of them are finite."""
    passed, wanted, finite = 0, stored.shape[0] * stored.volume_bytes, stored.dtype.kind != "f"
    end = stored.skip + wanted
    rest = b""
    for piece in _unpacked(stored):
        start, passed = passed, passed + len(piece)
        if not finite and start < end:
            numbers = rest + piece[max(stored.skip - start, 0) : end - start]
            whole = len(numbers) // stored.dtype.itemsize * stored.dtype.itemsize
            finite = bool(np.isfinite(np.frombuffer(numbers[:whole], stored.dtype)).any())
            rest = numbers[whole:]
        if passed >= end and not stored.packing:
            break
    if passed < end:
        raise Refused("truncated")
    if not finite:
        raise Refused("values that are not numbers")


def read_numbers(stored: Stored, volume: int) -> np.ndarray:
    """One volume as stored, [z, y, x, channels]. Raises Refused("truncated")."""
    begin = stored.skip + volume * stored.volume_bytes
    end = begin + stored.volume_bytes
    parts, passed = [], 0
    for piece in _unpacked(stored):
        start, passed = passed, passed + len(piece)
        if passed > begin:
            parts.append(piece[max(begin - start, 0) : end - start])
        if passed >= end:
            break
    if passed < end:
        raise Refused("truncated")
    return np.frombuffer(b"".join(parts), stored.dtype).reshape(stored.shape[1:])


def scan_volumes(
    header: Callable[[str], Stored],
    foreign: str,
    root: Path,
    settings: Settings,
    *,
    modality: str | None,
    declared: frozenset[str],
    workers: int,
    unpack_to: Path | None,
) -> ScanResult:
    """All files below root; every number is read once, because nothing less finds a damaged file.

    header: the format's parser, which raises Refused(`foreign`) for files of another format.
    """
    read = read_files(
        _judged,
        root,
        header,
        settings.fourth_axis,
        ignore=settings.ignore,
        declared=declared,
        foreign=foreign,
        workers=workers,
        unpack_to=unpack_to,
    )
    reasons = {path: reason for path, (reason, _) in read.results.items()}
    usable = {path: stored for path, (_, stored) in read.results.items() if stored is not None}
    headers, beside = usable, {}
    if settings.stacked:
        usable, unfit, beside = stacked(usable, settings.stacked)
        reasons |= unfit
    known = {read.place(root, path).resolve(): path for path, reason in reasons.items() if reason == foreign}
    for path, stored in headers.items():
        data = known.get(stored.data.resolve())
        if data is not None:
            beside[data] = beside.get(path, path)
            reasons[data] = reasons[path]
    parts = [_rows(path, stored, modality or "", settings) for path, stored in usable.items()]
    return ScanResult(file_frame(reasons), images_alike(parts), places=read.places, beside=beside)


def _judged(path: str, header: Callable[[str], Stored], fourth_axis: str) -> tuple[str, Stored | None]:
    """(reason, header): of files with a reason the header is not given."""
    try:
        stored = checked(header(path))
        if stored.shape[0] > 1 and fourth_axis == "exclude":
            raise Refused("several volumes in one file")
        check_data(stored)
    except Refused as refused:
        return str(refused), None
    except OSError:
        return "unreadable", None
    return "", stored


def _rows(path: str, stored: Stored, modality: str, settings: Settings) -> tuple[int, dict]:
    """(number of slices, their columns): one row per slice."""
    volumes, z, y, x, channels = stored.shape
    as_channels = volumes > 1 and settings.fourth_axis == "channels"
    count = 1 if as_channels else volumes
    number, slice_ = np.divmod(np.arange(count * z), z)
    names = np.array([path if count == 1 else f"{path}#{volume}" for volume in range(count)], dtype=object)
    place = {}
    if stored.affine_lps is not None:
        across = stored.affine_lps[:3, 2] / np.linalg.norm(stored.affine_lps[:3, 2])
        down = stored.affine_lps[:3, 1] / np.linalg.norm(stored.affine_lps[:3, 1])
        at = stored.affine_lps[:3, 3] + slice_[:, None] * stored.affine_lps[:3, 0]
        place = {f"orientation_{i}": value for i, value in enumerate([*across, *down])}
        place |= {f"position_{i}": at[:, i] for i in range(3)}
    return count * z, {
        "path": path,
        "frame": -1 if count == 1 else number,
        "sop_uid": names[number],
        "series_uid": names[number],
        "modality": modality,
        "rows": y,
        "columns": x,
        "samples": channels * (volumes if as_channels else 1) * max(1, len(settings.stacked)),
        "bits_stored": stored.dtype.itemsize * 8,
        "signed": stored.dtype.kind != "u",
        "transfer_syntax": f"{stored.dtype.name}{', ' + stored.packing if stored.packing else ''}",
        "rescale_slope": stored.slope,
        "rescale_intercept": stored.intercept,
        "spacing_y_mm": stored.spacing_mm[1],
        "spacing_x_mm": stored.spacing_mm[2],
        **place,
    }


def group_volumes(scan: ScanResult, settings: Settings) -> Grouped:
    """Each volume is a series, its slices in the order of the file."""
    grouped = one_image_per_series(scan, scan.images.sop_uid)
    images = grouped.images
    place = images[[f"position_{i}" for i in range(3)]].to_numpy()
    step = np.linalg.norm(np.diff(place, axis=0, prepend=np.nan), axis=1)
    images = images.assign(step=np.where(images.slice_index > 0, step, np.nan))
    by = images.groupby("series_key")
    spacing = by.step.median().reindex(grouped.series.series_key).to_numpy()
    few = (by.size() < settings.min_slices).reindex(grouped.series.series_key).to_numpy()
    series = grouped.series.assign(
        spacing_z_mm=spacing, reason=pd.Series(np.where(few, "too few slices", ""), dtype="str")
    )
    return Grouped(series, images.assign(position_mm=images.slice_index * images.step.fillna(0)).drop(columns="step"))


def read_files_of(header: Callable[[Path], Stored], root: Path, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The series of `rows` as a volume, from its file or from those of its channels."""
    path = rows.path.iloc[0]
    if not settings.stacked:
        return read_volume(header(Path(root) / path), rows, settings)
    files = [Path(root) / channel for channel in paths_of(path, settings.stacked)]
    return joined([read_volume(header(file), rows, settings) for file in files], settings.stacked)


def read_volume(stored: Stored, rows: pd.DataFrame, settings: Settings) -> Volume:
    """The series of `rows` as a volume. Values that are not finite are outside the field of view and become air."""
    stored = checked(stored)
    if stored.shape[0] > 1 and settings.fourth_axis == "channels":
        stack = np.concatenate([read_numbers(stored, volume) for volume in range(stored.shape[0])], axis=-1)
        names = tuple(f"volume {number}" for number in range(stack.shape[-1]))
    else:
        stack = read_numbers(stored, max(int(rows.frame.iloc[0]), 0))
        names = COLOURS[stack.shape[-1]]
    values = stack.astype(np.float32)
    if (stored.slope, stored.intercept) != (1.0, 0.0):
        # In float64: a float32 product is off by more than half a unit from 2^24 on.
        values = (stack * np.float64(stored.slope) + stored.intercept).astype(np.float32)
    values = values[..., 0] if values.shape[-1] == 1 else values
    padding = fill_what_is_not_finite(values)
    return Volume(
        values=values,
        unit=_unit(stored) if settings.unit == "from_type" else settings.unit,
        spacing_mm=stored.spacing_mm,
        padding_mask=padding,
        channels=names,
        slice_index=rows.slice_index.to_numpy(dtype=np.int64),
        affine_lps=stored.affine_lps,
    )


def _unit(stored: Stored) -> str:
    plain = (stored.slope, stored.intercept) == (1.0, 0.0)
    return {"uint8": "0-255", "uint16": "0-65535"}.get(stored.dtype.name, "arbitrary") if plain else "arbitrary"

"""What every reader's `scan` gives, the walk over all files, and the work shared out to processes.

A reader plug-in has `Settings` and three functions:
`scan(root, settings, *, modality=None, declared=frozenset(), workers=1, unpack_to=None) -> ScanResult`,
`group_series(scan, settings) -> Grouped`, `read_series(root, rows, settings) -> Volume`, which looks at no columns of a
series' rows but those in `_volume.READ_BY`.
It may have `recognises(start) -> bool`: whether a file that starts with these `START` bytes is of its format.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanloom.files.file_search import find_files
from scanloom.readers import _archive_members

DECLARED = "not an image (declared)"
NOT_UTF8 = "file name is not UTF-8"
START = 352  # bytes that tell a format: a NIfTI-1 header and what follows it
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # storage classes; multi-frame kinds are .7.1 to .7.4 (PS3.4 B.5)
BATCH = 64  # files per parcel of work: a header costs a millisecond, handing a parcel over about as much

# Columns of `ScanResult.images` and what stands in them where the format does not say.
IMAGE_COLUMNS = {
    "path": "",
    "frame": -1,
    "sop_uid": "",
    "series_uid": "",
    "study_uid": "",
    "raw_patient": "",
    "modality": "",
    "body_part": "",
    "manufacturer": "",
    "scanner_model": "",
    "kernel": "",
    "institution": "",
    "slice_thickness_mm": np.nan,
    "rows": 0,
    "columns": 0,
    "spacing_y_mm": np.nan,
    "spacing_x_mm": np.nan,
    "photometric": "",
    "samples": 1,
    "bits_stored": 0,
    "signed": False,
    "rescale_slope": np.nan,
    "rescale_intercept": np.nan,
    "rescale_type": "",
    "transfer_syntax": "",
    "kvp": np.nan,
    "tube_current_ma": np.nan,
    "instance_number": np.nan,
    "sop_class": "",
    "series_description": "",
    "series_number": 0,
    "acquisition_number": np.nan,
    "image_type": "",
    "view_position": "",
    "laterality": "",
    "patient_sex": "",
    "patient_age_years": np.nan,
    "contrast_agent": False,
    "burned_in": "",
    "overlay_planes": 0,
    "private_elements": 0,
    "temporal_position": np.nan,
    "echo_number": np.nan,
    "echo_time_ms": np.nan,
    "repetition_time_ms": np.nan,
    "trigger_time_ms": np.nan,
    "b_value": np.nan,
    "gantry_tilt_deg": np.nan,
    "header_repaired": False,
    **{f"orientation_{i}": np.nan for i in range(6)},
    **{f"position_{i}": np.nan for i in range(3)},
}
KINDS = {str: "str", int: "int64", bool: "bool", float: "float64"}


@dataclass(frozen=True)
class ScanResult:
    """Every file below the root, and every image in the readable ones.

    files: one row per regular file: path (relative to the root, `/`), ok, reason ("" where ok).
    images: one row per image (a frame of a multi-frame file is one), columns IMAGE_COLUMNS; in the order of paths.
        Holds the headers of excluded files too, as far as they could be read.
    labels: labels that came with the images, or None; column `index` is the images' `frame`.
    places: archive member -> absolute path of its unpacked copy.
    beside: data file -> the header file that it belongs to, whose verdict it shares (a .raw and its .mhd).
    """

    files: pd.DataFrame
    images: pd.DataFrame
    labels: pd.DataFrame | None = None
    places: dict[str, str] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Grouped:
    """Series made of the images of the files that were ok.

    series: one row per series_key: reason ("" where usable), spacing_z_mm, tilt_deg.
    images: as in ScanResult plus series_key, slice_index, position_mm; sorted by series and place in the stack.
    """

    series: pd.DataFrame
    images: pd.DataFrame


class ReadError(RuntimeError):
    """A series that was usable when it was catalogued cannot be read now."""


def private_errors(read_series: Callable) -> Callable:
    """The function with its errors turned into ReadErrors that name the series by its pseudonym, not by paths."""

    @wraps(read_series)
    def read(root, rows: pd.DataFrame, settings):
        with errors_by_pseudonym(rows):
            return read_series(root, located(rows), settings)

    return read


@contextmanager
def errors_by_pseudonym(rows: pd.DataFrame) -> Iterator[None]:
    """Errors of reading the series of these rows as `private_errors` has them."""
    try:
        yield
    except Exception as error:
        series = rows.series_id.iloc[0] if "series_id" in rows else "(not catalogued)"
        raise ReadError(
            f"series {series} cannot be read ({type(error).__name__}): its files are listed in the dataset's"
            " files.parquet below private/. If they changed since, run the catalogue rule again"
        ) from None


def located(rows: pd.DataFrame) -> pd.DataFrame:
    """Chunk rows with the unpacked copy's path for members of archives: absolute, so that it replaces the root."""
    if "place" not in rows or not (rows.place != "").any():
        return rows
    return rows.assign(path=rows.path.where(rows.place == "", rows.place.map(os.path.abspath)), place="")


def is_declared(path: str, declared: Iterable[str]) -> bool:
    """True where the path fits one of the patterns (`masks/*` covers all below; a plain path covers itself)."""
    return any(path == pattern or fnmatch(path, pattern) for pattern in declared)


def split_declared(paths: list[str], ignore: Iterable[str], declared: frozenset[str]) -> tuple[list[str], list[str]]:
    """(candidates, declared non-images) in order."""
    patterns = tuple(ignore)
    apart = {path for path in paths if path in declared or is_declared(path, patterns)}
    return [path for path in paths if path not in apart], [path for path in paths if path in apart]


@dataclass(frozen=True)
class FilesRead:
    """results: (reason, what was read) of every file and archive member, in order. places: as in ScanResult."""

    results: dict[str, tuple[str, Any]]
    places: dict[str, str]

    def place(self, root: Path, path: str) -> Path:
        """Where the file is on the disk."""
        return Path(root, self.places.get(path, path))


def read_files(
    function: Callable,
    root: Path,
    *arguments,
    ignore: Iterable[str],
    declared: frozenset[str],
    foreign: str,
    workers: int = 1,
    unpack_to: Path | None = None,
) -> FilesRead:
    """`function(path, *arguments) -> (reason, value)` of every file below the root, and of all files in archives.

    ignore, declared: patterns and paths of files that are not read, "not an image (declared)".
    foreign: the reason by which `function` says that a file is of another format. Only such files can be archives.
    unpack_to: private folder for what is in archives; None: archives stay closed.
    """
    results, places = {}, {}
    layer = {path: path for path in find_files(root)}
    for depth in range(_archive_members.DEPTH + 1):
        readable, unnamed = _with_utf8_names(layer)
        candidates, apart = split_declared(list(readable), ignore, declared)
        read = map_files(function, root, [readable[path] for path in candidates], *arguments, workers=workers)
        results |= dict.fromkeys(unnamed, (NOT_UTF8, None)) | dict.fromkeys(apart, (DECLARED, None))
        results |= dict(zip(candidates, read, strict=True))
        inside = {}
        for path in candidates:
            if results[path][0] == foreign:
                into = unpack_to if depth < _archive_members.DEPTH else None
                opened = _archive_members.members(Path(root, layer[path]), path, into)
                if opened is not None:
                    closed = unpack_to is not None and into is None
                    results[path] = (_archive_members.TOO_DEEP if closed else opened[0], None)
                    inside |= opened[1]
        places |= inside
        layer = inside
        if not layer:
            break
    if unpack_to is not None:
        _archive_members.forget_others(unpack_to, places)
    return FilesRead({path: results[path] for path in sorted(results)}, places)


def _with_utf8_names(layer: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """(files whose names can be written into a table, names of the others with their odd bytes written as \\xNN)."""
    odd = [path for path in layer if not path.isascii() and any(0xD800 <= ord(letter) < 0xE000 for letter in path)]
    named = [os.fsencode(path).decode("utf-8", "backslashreplace") for path in odd]
    return {path: place for path, place in layer.items() if path not in set(odd)}, named


def _parcel(function: Callable, root: str, names: list[str], arguments: tuple) -> list:
    below = os.path.join(root, "")
    return [function(name if os.path.isabs(name) else below + name, *arguments) for name in names]


def map_files(function: Callable, root: Path, names: list[str], *arguments, workers: int = 1) -> list:
    """`[function(root / name, *arguments) for name in names]`, shared out to `workers` processes.

    Processes are forked: a spawned one would run the calling script again.
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    if workers <= 1 or len(names) <= BATCH or not can_fork:
        return _parcel(function, str(root), names, arguments)
    parcels = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
        done = [pool.submit(_parcel, function, str(root), parcel, arguments) for parcel in parcels]
        return [result for parcel in done for result in parcel.result()]


def image_frame(rows: list[dict]) -> pd.DataFrame:
    """The rows as a table with all IMAGE_COLUMNS and the types of their defaults."""
    columns = {}
    for name, default in IMAGE_COLUMNS.items():
        values, kind = [row.get(name, default) for row in rows], KINDS[type(default)]
        columns[name] = pd.array(values, dtype="str") if kind == "str" else np.array(values, kind)
    return pd.DataFrame(columns)


def images_alike(parts: list[tuple[int, dict[str, Any]]]) -> pd.DataFrame:
    """IMAGE_COLUMNS of (count, values) one after the other: a value of all `count` rows, or an array of one per row.

    For formats with thousands of images in a file: no dict per image.
    """
    columns = {}
    for name, default in IMAGE_COLUMNS.items():
        kind = object if isinstance(default, str) else KINDS[type(default)]
        values = [np.broadcast_to(np.asarray(part.get(name, default), kind), count) for count, part in parts]
        columns[name] = pd.Series(np.concatenate([np.empty(0, kind), *values]), dtype=KINDS[type(default)])
    return pd.DataFrame(columns)


def file_frame(reasons: dict[str, str]) -> pd.DataFrame:
    """`files` of a ScanResult from {path: reason, "" for ok}."""
    paths = sorted(reasons)
    reason = [reasons[path] for path in paths]
    return pd.DataFrame(
        {
            "path": pd.Series(paths, dtype="str"),
            "ok": pd.Series([not text for text in reason], dtype="bool"),
            "reason": pd.Series(reason, dtype="str"),
        }
    )


def file_numbers(files: pd.DataFrame, paths: pd.Series) -> np.ndarray:
    """Row of each path in the table of files, int64, -1 where it is not among them."""
    return pd.Index(files.path).get_indexer(paths).astype(np.int64)


def of_good_files(files: pd.DataFrame, images: pd.DataFrame) -> pd.DataFrame:
    """The images of files that are ok."""
    return images if files.ok.all() else images[files.ok.to_numpy()[file_numbers(files, images.path)]]


def one_image_per_series(scan: ScanResult, key: pd.Series) -> Grouped:
    """Series for formats without stacks: images with one key are one series, in the order they stand."""
    images = of_good_files(scan.files, scan.images).assign(series_key=key)
    images["slice_index"] = images.groupby("series_key", sort=False).cumcount()
    images["position_mm"] = np.nan
    images = images.sort_values(["series_key", "slice_index"], kind="stable", ignore_index=True)
    series = pd.DataFrame({"series_key": images.series_key.drop_duplicates().to_numpy()})
    series = series.assign(reason=pd.Series("", index=series.index, dtype="str"), spacing_z_mm=np.nan, tilt_deg=np.nan)
    return Grouped(series, images)

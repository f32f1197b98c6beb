"""What every reader's `scan` gives, the walk over all files, and the work shared out to processes.

A reader plug-in has `Settings` and three functions:
`scan(root, settings, *, modality=None, declared=frozenset(), workers=1) -> ScanResult`,
`group_series(scan, settings) -> Grouped`, `read_series(root, rows, settings) -> Volume`.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import wraps
from pathlib import Path

import numpy as np
import pandas as pd

DECLARED = "not an image (declared)"
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
    "transfer_syntax": "",
    "kvp": np.nan,
    "tube_current_ma": np.nan,
    "instance_number": np.nan,
    **{f"orientation_{i}": np.nan for i in range(6)},
    **{f"position_{i}": np.nan for i in range(3)},
}


@dataclass(frozen=True)
class ScanResult:
    """Every file below the root, and every image in the readable ones.

    files: one row per regular file: path (relative to the root, `/`), ok, reason ("" where ok).
    images: one row per image (a frame of a multi-frame file is one), columns IMAGE_COLUMNS; in the order of paths.
        Holds the headers of excluded files too, as far as they could be read.
    labels: labels that came with the images, or None; column `index` is the images' `frame`.
    """

    files: pd.DataFrame
    images: pd.DataFrame
    labels: pd.DataFrame | None = None


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
        try:
            return read_series(root, rows, settings)
        except Exception as error:
            series = rows.series_id.iloc[0] if "series_id" in rows else "(not catalogued)"
            raise ReadError(
                f"series {series} cannot be read ({type(error).__name__}): its files are listed in the dataset's"
                " files.parquet below private/. If they changed since, run the catalogue rule again"
            ) from None

    return read


def find_files(root: Path) -> list[str]:
    """Relative paths of all regular files below the root, sorted; links are followed, each folder once."""
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: check the dataset's source settings")
    found, seen = [], set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        found += [os.path.join(folder, name) for name in names if os.path.isfile(os.path.join(folder, name))]
    return sorted(Path(os.path.relpath(path, root)).as_posix() for path in found)


def is_declared(path: str, declared: Iterable[str]) -> bool:
    """True where the path fits one of the patterns (`masks/*` covers all below; a plain path covers itself)."""
    return any(path == pattern or fnmatch(path, pattern) for pattern in declared)


def split_declared(paths: list[str], ignore: Iterable[str], declared: frozenset[str]) -> tuple[list[str], list[str]]:
    """(candidates, declared non-images) in order."""
    patterns = tuple(ignore)
    apart = {path for path in paths if path in declared or is_declared(path, patterns)}
    return [path for path in paths if path not in apart], [path for path in paths if path in apart]


def _parcel(function: Callable, root: str, names: list[str], arguments: tuple) -> list:
    return [function(os.path.join(root, name), *arguments) for name in names]


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
    count = len(rows)
    columns = {}
    for name, default in IMAGE_COLUMNS.items():
        values = [row.get(name, default) for row in rows]
        kind = {str: "str", int: "int64", bool: "bool", float: "float64"}[type(default)]
        columns[name] = pd.Series(values, dtype=kind, index=range(count))
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


def one_image_per_series(scan: ScanResult, key: pd.Series) -> Grouped:
    """Series for formats without stacks: images with one key are one series, in the order they stand."""
    ok = set(scan.files.path[scan.files.ok])
    images = scan.images[scan.images.path.isin(ok)].assign(series_key=key)
    images["slice_index"] = images.groupby("series_key", sort=False).cumcount()
    images["position_mm"] = np.nan
    images = images.sort_values(["series_key", "slice_index"], kind="stable", ignore_index=True)
    series = pd.DataFrame({"series_key": images.series_key.drop_duplicates().to_numpy()})
    series = series.assign(reason=pd.Series("", index=series.index, dtype="str"), spacing_z_mm=np.nan, tilt_deg=np.nan)
    return Grouped(series, images)

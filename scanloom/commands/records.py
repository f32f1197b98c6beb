"""What is in shards: what they hold, whether they are as they were written, and one image of them as a PNG.

    scanloom records results/phantom/shards --check
    scanloom records results/phantom/shards --print 5
    scanloom records results/phantom/shards --export 00c0ffee00c0ffee-0012 slice.png --window brain

FOLDER holds shards of this workflow with their manifests. FILE is one of them, or any TFRecord file of tf.train.Example
messages: then its features are listed, and --export takes a record's number and writes the picture in image/encoded.
"""

import argparse
import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from scanloom import plugins
from scanloom.commands._words import whole
from scanloom.shards import tfrecord_wire as wire
from scanloom.shards.records import Shards, open_shards, read_manifest
from scanloom.shards.shard_check import KINDS, file_bytes, folder_problems, record_problems
from scanloom.steps.hu_window import WINDOWS

ENCODED = "image/encoded"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("place", type=Path, metavar="FOLDER|FILE", help="results/DATASET/shards, or a TFRecord file")
    parser.add_argument("--check", action="store_true", help="compare every record with its checksum and manifest")
    parser.add_argument("--print", type=whole(0), default=0, metavar="N", dest="rows", help="print the first N records")
    parser.add_argument("--export", nargs=2, metavar=("ITEM", "FILE.png"), help="write an image as a picture")
    parser.add_argument(
        "--window", nargs="+", metavar=("NAME|LEVEL", "WIDTH"), help=f"in HU, for --export: {', '.join(WINDOWS)}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print, check, export; 1 if the check finds something. Raises ValueError or OSError for what a user can mend."""
    manifests = _manifests(arguments.place)
    if not manifests:
        return _run_on_file(arguments)
    if arguments.check:
        problems = folder_problems(manifests)
        for problem in problems:
            print(problem)
        if problems:
            print(f"{len(problems)} problems found")
            return 1
    shards = open_shards(manifests)
    print(_summary(manifests, shards))
    if arguments.check:
        print("checked: all records, sizes, SHA-256, features, patients: nothing wrong")
    if arguments.rows:
        _print_table(shards.table.head(arguments.rows))
    if arguments.export:
        item, target = arguments.export
        rows = np.flatnonzero(shards.table["item_id"] == item)
        if not len(rows):
            known = shards.table["item_id"].tolist()
            raise ValueError(f"no item '{item}' among {len(known)}.{plugins.suggestion(item, known)} See --print")
        picture = picture_of(shards.images(rows)[0], shards.table.iloc[rows[0]], shards.image_spec, arguments.window)
        _save(picture, target)
    return 0


def _manifests(place: Path) -> list[Path]:
    """The manifests of a folder (or of its folder `shards`), or the one given; none for any other file."""
    if place.is_dir():
        found = [path for folder in (place, place / "shards") for path in sorted(folder.glob("[0-9]*.json"))]
        if not found:
            raise ValueError(f"no manifests of shards in {place}; expected results/DATASET/shards, or a TFRecord file")
        return found
    if not place.exists():
        raise FileNotFoundError(f"no folder or file {place}")
    return [place] if place.suffix == ".json" else []


def _summary(manifests: list[Path], shards: Shards) -> str:
    """What the shards hold, one line per aspect."""
    parts = [read_manifest(path) for path in manifests]
    spec, table = shards.image_spec, shards.table
    size = sum(split["bytes"] for part in parts for split in part["splits"].values())
    lines = {
        "dataset": ", ".join(sorted({part["dataset"] for part in parts})),
        "files": f"{len(parts)} chunks, {len(table)} records, {size / 1e6:.1f} MB, "
        f"compression {', '.join(sorted({part['compression'] for part in parts}))}",
        "images": f"{spec['dtype']} {spec['shape']} in {spec['unit'] or 'several units'}",
        "channels": ", ".join(spec["channels"]),
    }
    if spec["range"]:
        ranges = [f"{low:g} to {high:g}" for low, high in spec["range"]]
        lines["channels"] = ", ".join(f"{name} ({r})" for name, r in zip(spec["channels"], ranges, strict=True))
    steps = next((part["steps"] for part in parts if part["steps"]), [])
    lines["steps"] = ", ".join(f"{step['name']} {json.dumps(step['settings'])}" for step in steps)
    lines["dropped"] = f"{sum(part['dropped_by_steps'] for part in parts)} images left out by steps"
    for split, rows in table.groupby("split", sort=False):
        lines[split] = f"{len(rows)} records of {rows['series_id'].nunique()} series, {rows['patient_id'].nunique()} "
        lines[split] += "patients"
        for label in parts[0]["labels"]:
            counts = rows[label].value_counts(dropna=False).sort_index()
            named = [f"{'missing' if math.isnan(value) else f'{value:g}'}: {n}" for value, n in counts.items()]
            lines[split] += f"; {label} {{{', '.join(named)}}}"
    return "\n".join(f"{name:<11}{text}" for name, text in lines.items() if text)


def picture_of(image: np.ndarray, row: pd.Series, spec: dict, window: list[str] | None) -> np.ndarray:
    """uint8 [y, x] or [y, x, 3]: one stored image [*spatial, channels], or all slices of a volume in a grid.

    Colours stay colours, other channels stand side by side. window: name, or level and width in HU; without one
    the whole range of the integer type is shown.
    """
    if window is not None:
        if spec["unit"] != "HU":
            raise ValueError(f"--window is in HU; these images are in {spec['unit'] or 'several units'}: leave it out")
        low, high = _bounds(window)
        physical = image * np.asarray(row["slope"]) + np.asarray(row["intercept"])
        image = np.rint(np.clip((physical - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    elif image.dtype == np.uint16:
        if spec["unit"] == "HU" and spec["slope"] and max(spec["slope"]) >= 1:
            raise ValueError("16-bit HU need a window to be seen: --window brain, or --window LEVEL WIDTH")
        image = (image >> 8).astype(np.uint8)
    slices = image if image.ndim == 4 else image[np.newaxis]
    if tuple(spec["channels"]) != ("red", "green", "blue"):
        slices = np.concatenate(np.moveaxis(slices, -1, 0), axis=2)[..., np.newaxis]
    across = math.ceil(math.sqrt(len(slices)))
    down = math.ceil(len(slices) / across)
    slices = np.concatenate([slices, np.zeros((across * down - len(slices), *slices.shape[1:]), np.uint8)])
    grid = slices.reshape(down, across, *slices.shape[1:]).swapaxes(1, 2)
    grid = grid.reshape(down * slices.shape[1], across * slices.shape[2], slices.shape[3])
    return grid if grid.shape[-1] == 3 else grid[..., 0]


def _bounds(window: list[str]) -> tuple[float, float]:
    """Lowest and highest HU. Raises ValueError for neither a name nor two numbers."""
    try:
        level, width = WINDOWS[window[0]] if window[0] in WINDOWS else map(float, window)
    except ValueError:
        raise ValueError(
            f"--window {' '.join(window)}: expected LEVEL WIDTH or one of {', '.join(WINDOWS)}."
            f"{plugins.suggestion(window[0], list(WINDOWS))}"
        ) from None
    if not width > 0:
        raise ValueError(f"--window {' '.join(window)}: the width must be above 0")
    return level - width / 2, level + width / 2


def _save(picture: np.ndarray, target: str) -> None:
    if not target.lower().endswith(".png"):
        raise ValueError(f"--export {target}: expected a name ending in .png")
    Image.fromarray(picture).save(target)
    print(f"{target}: {picture.shape[1]} x {picture.shape[0]} pixels")


def _print_table(table: pd.DataFrame) -> None:
    with pd.option_context("display.width", None, "display.max_columns", None, "display.max_colwidth", 40):
        print(table.to_string(index=False, na_rep="missing"))


def _run_on_file(arguments: argparse.Namespace) -> int:
    """A TFRecord file without a manifest."""
    file = arguments.place
    if arguments.check:
        problems = record_problems(file)
        for problem in problems:
            print(problem)
        if problems:
            return 1
    data = file_bytes(file)
    places = list(zip(*wire.index_records(data, str(file)), strict=True))
    print(f"{len(places)} records in {len(data) / 1e6:.1f} MB" + (", all as they were written" * arguments.check))
    for number, (start, length) in enumerate(places[: max(arguments.rows, 1)]):
        print(f"record {number}:")
        record = bytes(data[start : start + length])
        for name, value in sorted(wire.locate(record).items()):
            print(f"  {name:<24} {KINDS[value.kind]:<8} {_shown(wire.values_of(record, value))}")
    if arguments.export:
        number, target = arguments.export
        if not number.isdigit() or int(number) >= len(places):
            raise ValueError(f"no record '{number}': without a manifest give its number, 0 to {len(places) - 1}")
        start, length = places[int(number)]
        encoded = wire.decode_example(bytes(data[start : start + length])).get(ENCODED)
        if not isinstance(encoded, list) or len(encoded) != 1:
            raise ValueError(f"record {number} has no {ENCODED}; for shards of this workflow give their folder")
        _save(_decoded(encoded[0]), target)
    return 0


def _decoded(encoded: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG")) as picture:
        return np.asarray(picture.convert("RGB"))


def _shown(values) -> str:
    """Values of a feature, as far as a line goes."""
    if isinstance(values, list):
        plain = [len(value) < 60 and value.isascii() and value.decode().isprintable() for value in values[:8]]
        return ", ".join(v.decode() if p else f"{len(v)} bytes" for v, p in zip(values, plain, strict=False))
    return ", ".join(f"{value:g}" for value in values[:8]) + (f", ... ({len(values)})" if len(values) > 8 else "")

"""What is in a folder of images: a table of its series, those that fit a condition, and a reason for every other file.

Reads headers only and writes nothing into the folder. Patients, series and files are named by pseudonyms, and free text
is left out, unless --private is given. The condition is SQL over the columns that --list-columns explains:

    scanloom catalogue scans/ --where "modality = 'CT' AND body_part = 'CHEST' AND slice_thickness_mm <= 5"
    scanloom catalogue scans/ --where "series_description NOT ILIKE '%BONE%'" --private --export series.csv
"""

import argparse
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pandas as pd
import yaml

from scanloom import plugins
from scanloom.cataloguing import selection
from scanloom.cataloguing.catalogue import Catalogue, build_catalogue
from scanloom.cataloguing.catalogue_columns import COLUMNS, SERIES_COLUMNS
from scanloom.commands._words import files_in_words, whole
from scanloom.identity import study_salt
from scanloom.readers._scan import START
from scanloom.readers._stored_volume import Refused, first_bytes

SHOWN = [
    "series_id",
    "patient_id",
    "modality",
    "body_part",
    "plane",
    "n_images",
    "rows",
    "columns",
    "slice_thickness_mm",
]
SHOWN_PRIVATE = ["series_description", "path"]
MOST_ROWS = 40
WRITERS = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".json": lambda table, path: table.to_json(path, orient="records", indent=1),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="folder of images, at any depth")
    parser.add_argument("--where", metavar="SQL", help="keep the series for which this is true")
    parser.add_argument("--reader", default="dicom", help=f"format: {', '.join(plugins.names('readers'))} (dicom)")
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="a setting of the reader")
    parser.add_argument("--modality", help="DICOM modality to accept; what to call other formats' images")
    parser.add_argument("--columns", metavar="A,B,...", help="columns to print")
    parser.add_argument("--list-columns", action="store_true", help="explain all columns and stop")
    parser.add_argument("--rows", type=whole(0), default=MOST_ROWS, help=f"series to print ({MOST_ROWS}); 0: all")
    parser.add_argument("--export", type=Path, metavar="FILE", help="write the table to FILE.csv, .json or .parquet")
    parser.add_argument("--excluded", action="store_true", help="the excluded files and why, instead of the series")
    parser.add_argument("--private", action="store_true", help="show paths, identifiers and descriptions as they are")
    parser.add_argument("--salt-file", type=Path, help="pseudonyms of a study: its private/salt.txt (random otherwise)")
    parser.add_argument("--dataset", default="folder", help="the study's name of the dataset, for its pseudonyms")
    parser.add_argument("--workers", type=whole(1), default=os.cpu_count() or 1, help="processes (one per core)")


def run(arguments: argparse.Namespace) -> int:
    """Print, and write where asked. Raises ValueError or OSError for what the user can mend."""
    if arguments.list_columns:
        _print_columns()
        return 0
    if arguments.folder is None:
        raise ValueError("which folder? scanloom catalogue FOLDER")
    if not arguments.folder.is_dir():
        what = "is a file" if arguments.folder.exists() else "is not there"
        raise ValueError(f"{arguments.folder} {what}; expected a folder of images")
    columns = _columns(arguments)
    export = _export(arguments)
    if arguments.where:
        selection.check(arguments.where)
    settings = plugins.settings("readers", arguments.reader, _settings(arguments.setting))
    scratch = Path(tempfile.mkdtemp(prefix="scanloom-"))
    try:
        catalogue = build_catalogue(
            arguments.reader,
            settings,
            arguments.folder,
            dataset=arguments.dataset,
            salt=arguments.salt_file.read_text().strip() if arguments.salt_file else study_salt(None, scratch),
            chunks=1,
            modality=arguments.modality,
            where=arguments.where,
            group="patient_id" if arguments.reader == "dicom" else None,
            workers=arguments.workers,
            unpack_to=scratch / "unpacked",
            may_be_empty=True,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    table = _excluded(catalogue, arguments.private) if arguments.excluded else _table(catalogue, arguments.private)
    _print(table[columns], arguments.rows)
    _print_books(catalogue.books)
    _print_other_readers(catalogue, arguments)
    if export:
        WRITERS[export.suffix.lower()](table, export)
        print(f"\n{len(table)} rows written to {export}" + (": do not share it" if arguments.private else ""))
    return 0


def _settings(texts: list[str]) -> dict:
    """Settings as written in a dataset file: `min_slices=5`, `ignore=[masks/*]`."""
    pairs = [text.partition("=") for text in texts]
    for key, equals, _ in pairs:
        if not equals:
            raise ValueError(f"--setting {key}: expected KEY=VALUE")
    return {key: yaml.safe_load(value) for key, _, value in pairs}


def _known_columns(private: bool) -> list[str]:
    return list(SERIES_COLUMNS) if private else [name for name in COLUMNS if name not in ("file_ids", "chunk")]


def _excluded(catalogue: Catalogue, private: bool) -> pd.DataFrame:
    """One row per excluded file."""
    files = catalogue.files[catalogue.files.verdict == "excluded"]
    return files[["reason", "detail", *(["path"] if private else ["file_id"])]].sort_values("reason", kind="stable")


def _columns(arguments: argparse.Namespace) -> list[str]:
    """Columns to print. Raises ValueError for one that there is not, or not without --private."""
    if arguments.excluded:
        return ["reason", "detail", "path" if arguments.private else "file_id"]
    if not arguments.columns:
        return SHOWN + (SHOWN_PRIVATE if arguments.private else [])
    known = _known_columns(arguments.private)
    names = [name.strip() for name in arguments.columns.split(",")]
    for name in names:
        if name in SERIES_COLUMNS and name not in known:
            raise ValueError(f"column '{name}' may name a patient; it is shown with --private")
        if name not in known:
            raise ValueError(f"no column '{name}'.{plugins.suggestion(name, known)} Columns: {', '.join(known)}")
    return names


def _export(arguments: argparse.Namespace) -> Path | None:
    """The file to write. Raises ValueError for an unknown kind, and for one inside the folder that is only read."""
    if arguments.export is None:
        return None
    if arguments.export.suffix.lower() not in WRITERS:
        raise ValueError(f"--export {arguments.export.name}: expected a name ending in {', '.join(WRITERS)}")
    if arguments.export.resolve().is_relative_to(arguments.folder.resolve()):
        raise ValueError("--export: the file lies inside the folder of images, which is never written to")
    return arguments.export


def _table(catalogue: Catalogue, private: bool) -> pd.DataFrame:
    """One row per used series."""
    table = catalogue.series if private else catalogue.catalogue
    table = table.loc[table.verdict == "used", _known_columns(private)]
    return table.sort_values(["modality", "body_part", "path" if private else "patient_id"], kind="stable")


def _print(table: pd.DataFrame, most: int) -> None:
    shown = table.head(most) if most > 0 else table
    if table.empty:
        print("nothing to show")
        return
    with pd.option_context("display.width", None, "display.max_colwidth", 60):
        print(shown.to_string(index=False, na_rep="", float_format=lambda number: f"{number:.4g}"))
    if len(shown) < len(table):
        print(f"... and {len(table) - len(shown)} more (--rows 0 prints all)")


def _print_books(books: dict) -> None:
    print(f"\n{books['found']} files found = {books['used']} used + {books['excluded']} excluded")
    width = max((len(str(count)) for count in books["reasons"].values()), default=0)
    for reason, count in sorted(books["reasons"].items(), key=lambda item: -item[1]):
        print(f"  {count:>{width}}  {reason}")


def _print_other_readers(catalogue: Catalogue, arguments: argparse.Namespace) -> None:
    """Which readers the files are for that this one did not know; one dataset file has one reader."""
    strange = catalogue.files.loc[catalogue.files.reason.str.startswith("not a"), "path"]
    others = [name for name in plugins.names("readers") if name != arguments.reader] if len(strange) else []
    tests = {name: getattr(plugins.load("readers", name), "recognises", None) for name in others}
    found = Counter()
    for path in strange:
        try:
            start, _ = first_bytes(arguments.folder / path, START)
        except (OSError, Refused):
            continue
        found.update(name for name, recognises in tests.items() if recognises is not None and recognises(start))
    for name, count in found.most_common():
        print(f"for --reader {name}: {files_in_words(count)} of the excluded ones")


def _print_columns() -> None:
    for name, (kind, meaning) in selection.COLUMNS.items():
        mark = "" if name in COLUMNS or name in ("spacing_z_mm", "spacing_y_mm", "spacing_x_mm") else " (--private)"
        print(f"{name:20} {kind.lower():8} {meaning}{mark}")
    print('labels."COLUMN"      varchar  a column of the label table, in a dataset file\'s conditions')

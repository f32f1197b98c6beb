"""The catalogue: every file found below a dataset's root is used in a series, or excluded with one reason.

Headers are read once, here. Results name patients, series and files by pseudonyms; raw paths and identifiers are in
`files`, `series` and `chunk_rows`, which belong below `private/`. Everything is vectorised: after the headers were
read, a million images cost 15 seconds as series of 100, 40 as pictures (benchmarks/catalogue_table.py).
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.cataloguing import selection
from scanloom.cataloguing.catalogue_columns import COLUMNS, SERIES_COLUMNS, published, typed
from scanloom.cataloguing.catalogue_series import (
    CatalogueError,
    Links,
    described,
    links_of,
    reasons_after_selection,
    series_table,
    sites,
    with_groups,
)
from scanloom.files.file_search import find_files
from scanloom.identity import chunk_of, pseudonyms
from scanloom.labelling.labels import match_rows
from scanloom.readers._scan import Grouped, ScanResult, file_numbers

CHUNK_COLUMNS = [
    "series_id",
    "patient_id",
    "slice_index",
    "path",
    "frame",
    "sop_uid",
    "series_uid",
    "raw_patient",
    "position_mm",
    *(f"orientation_{i}" for i in range(6)),
    *(f"position_{i}" for i in range(3)),
    "place",
]


@dataclass(frozen=True)
class Catalogue:
    """catalogue: one row per used series or excluded file (COLUMNS), no raw value in it.
    series (private): one row per series, used or not (SERIES_COLUMNS): what conditions are evaluated on.
    files (private): file_id, path, verdict, reason, series_id ("" where a file holds several series), detail.
    books: {"found", "used", "excluded", "reasons": {reason: files}}; an archive counts, and each of its members does.
    chunk_rows (private): chunk -> one row per image of its series in stack order (CHUNK_COLUMNS); `place`: the unpacked
    copy of an archive's member, relative to the working folder, "" for other files.
    labels (private): the label table that was given or came with the images, all text; None: no labels.
    """

    catalogue: pd.DataFrame
    series: pd.DataFrame
    files: pd.DataFrame
    books: dict[str, Any]
    chunk_rows: dict[int, pd.DataFrame]
    labels: pd.DataFrame | None


def build_catalogue(
    reader: str,
    settings,
    root: Path,
    *,
    dataset: str,
    salt: str,
    chunks: int,
    modality: str | None = None,
    where: str | None = None,
    exclude: Iterable[Mapping[str, str]] = (),
    group: str | None = "patient_id",
    site: str | None = None,
    labels: pd.DataFrame | Callable[[list[str]], pd.DataFrame] | None = None,
    join: str = "path",
    key: str | None = None,
    normalise: dict[str, str] | None = None,
    declared: Iterable[str] = (),
    workers: int = 1,
    unpack_to: Path | None = None,
    may_be_empty: bool = False,
) -> Catalogue:
    """The catalogue of all files below `root`.

    reader: name of a reader plug-in, `settings` its checked settings.
    where, exclude: conditions on series, see selection.removal_reasons; asked of series that have no other fault.
    group: unit of splits: "patient_id" (DICOM's, else the label table's column), another label-table column, or None.
    site: label-table column, or one of catalogue_series.SITE_COLUMNS; None: DICOM's institution. Institutions are
        always pseudonyms.
    labels: label table, all columns text; or what gives it from the paths of all files and members of archives; None:
        the reader's own, if it has one. `join`, `key`, `normalise`: see labels.match_rows.
    declared: paths of label tables and masks: found, and excluded as declared.
    unpack_to: private folder for what is in archives; None: archives stay closed.
    may_be_empty: also where no series is used; else that is an error, because a study cannot go on.
    Raises CatalogueError, selection.SelectionError, label_tables.LabelError.
    """
    root, exclude = Path(root), list(exclude)
    plugin = plugins.load("readers", reader)
    on_disk = find_files(root)
    scan = plugin.scan(
        root, settings, modality=modality, declared=frozenset(declared), workers=workers, unpack_to=unpack_to
    )
    paths = [*on_disk, *scan.places]
    found = len(paths)
    grouped = plugin.group_series(scan, settings)
    labels = scan.labels if labels is None else labels(paths) if callable(labels) else labels
    conditions = [*([where] if where else []), *(rule["where"] for rule in exclude)]
    named = {group, site, *(name for text in conditions for name in selection.label_columns(text))}
    asked = labels is not None and not named.isdisjoint(labels.columns)
    rows = match_rows(grouped.images, labels, join, key, normalise) if asked else None

    links = links_of(scan, grouped)
    series = series_table(grouped, links, dataset, salt)
    series = with_groups(series, grouped, links, group, labels, rows)
    series["patient_id"] = pseudonyms(salt, "patient", dataset, series.group)
    series["site"] = sites(grouped, links, site, labels, rows, dataset, salt)
    series["reason"] = reasons_after_selection(series, links, where, exclude, labels, rows)
    used = series.reason == ""
    series["chunk"] = np.where(used, [chunk_of(series_id, chunks) for series_id in series.series_id.tolist()], -1)

    files = _files_table(scan, links, series, dataset, salt)
    catalogue = _catalogue_table(scan, links, series, files, dataset, salt, group)
    books = balance_books(catalogue, files, found)
    if not (used.any() or may_be_empty):
        raise CatalogueError(f"{dataset}: none of {found} files is usable: {books['reasons']}")
    private = series.assign(verdict=np.where(used, "used", "excluded"))
    return Catalogue(
        catalogue,
        typed(private, SERIES_COLUMNS),
        files,
        books,
        _chunk_rows(scan, grouped, series, chunks),
        labels,
    )


def balance_books(catalogue: pd.DataFrame, files: pd.DataFrame, found: int) -> dict[str, Any]:
    """Files found, used, excluded and why. Raises CatalogueError unless every file is accounted for exactly once."""
    used = int((files.verdict == "used").sum())
    excluded = files.reason[files.verdict == "excluded"]
    if found != used + len(excluded) or files.path.duplicated().any():
        raise CatalogueError(
            f"books do not balance: {found} files found, {used} used, {len(excluded)} excluded;"
            " did files change while they were read?"
        )
    for verdict in ("used", "excluded"):
        listed = set(chain.from_iterable(catalogue.file_ids[catalogue.verdict == verdict]))
        expected = set(files.file_id[files.verdict == verdict].tolist())
        if listed != expected:
            raise CatalogueError(f"catalogue lists {len(listed)} {verdict} files, the file table {len(expected)}")
    if (excluded == "").any():
        raise CatalogueError(f"{int((excluded == '').sum())} excluded files have no reason")
    reasons = {str(reason): int(count) for reason, count in sorted(excluded.value_counts().items())}
    return {"found": found, "used": used, "excluded": len(excluded), "reasons": reasons}


def declared_files(tables: Iterable[str], labels: pd.DataFrame | None, mask_column: str | None) -> frozenset:
    """Paths below root that the dataset file declares as non-images: label tables and the masks they name."""
    masks = set() if labels is None or mask_column is None else set(labels[mask_column].dropna()) - {""}
    return frozenset(Path(path).as_posix() for path in masks | set(tables))


def unexpected_counts(catalogue: pd.DataFrame, expected: dict[str, int]) -> list[str]:
    """One sentence per published count ("series", "patients", "images") that the used series do not have."""
    used = catalogue[catalogue.verdict == "used"]
    have = {"series": len(used), "patients": used.patient_id.nunique(), "images": int(used.n_images.sum())}
    unknown = set(expected) - set(have)
    if unknown:
        raise CatalogueError(f"expected counts {sorted(unknown)} are unknown; known: {', '.join(have)}")
    return [f"expected {n} {what}, found {have[what]}" for what, n in expected.items() if have[what] != n]


def _files_table(scan: ScanResult, links: Links, series: pd.DataFrame, dataset: str, salt: str) -> pd.DataFrame:
    """One row per file: its verdict is its own, else that of its series (used, if one of several is used)."""
    # Of several series the one with the first reason speaks; no reason ("") comes before all others.
    rank = np.unique(series.reason.to_numpy(dtype=object).astype("U"), return_inverse=True)[1]
    order = np.lexsort((rank[links.series], links.file))
    speaks = np.full(len(scan.files), -1)
    speaks[links.file[order][::-1]] = links.series[order][::-1]
    several = np.bincount(links.file, minlength=len(scan.files)) > 1
    lost = _header_of(scan, np.flatnonzero(~scan.files.ok)).series_uid
    known = pseudonyms(salt, "series", dataset, lost).where(lost != "", "").reindex(scan.files.index, fill_value="")

    def of_series(column: str) -> np.ndarray:
        return np.append(series[column].to_numpy(dtype=object), "")[speaks]

    ok = scan.files.ok
    files = pd.DataFrame(
        {
            "file_id": pseudonyms(salt, "file", dataset, scan.files.path),
            "path": scan.files.path,
            "reason": scan.files.reason.mask(ok, of_series("reason")).astype("str"),
            "series_id": known.mask(ok, np.where(several, "", of_series("series_id"))).astype("str"),
            "detail": pd.Series("", scan.files.index).mask(ok, of_series("detail")).astype("str"),
        }
    )
    files.insert(2, "verdict", pd.Series(np.where(files.reason == "", "used", "excluded"), dtype="str"))
    return files


def _header_of(scan: ScanResult, files: np.ndarray) -> pd.DataFrame:
    """Headers of the first images of those of the files (row numbers) that have any; index: the row number."""
    file = file_numbers(scan.files, scan.images.path)
    asked = np.zeros(len(scan.files), bool)
    asked[files] = True
    rows = np.flatnonzero(asked[file])
    first = np.unique(file[rows], return_index=True)[1]
    return scan.images.iloc[rows[first]].set_index(file[rows[first]])


def _catalogue_table(scan, links: Links, series, files, dataset: str, salt: str, group: str | None) -> pd.DataFrame:
    """Used series, then excluded files."""
    ids = files.file_id.to_numpy(dtype=object)[links.file].tolist()
    ends = np.cumsum(np.bincount(links.series, minlength=len(series))).tolist()
    lists = [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    used = series.assign(verdict="used", file_ids=pd.Series(lists, dtype=object))[series.reason == ""]

    out = files[files.verdict == "excluded"]
    header = _header_of(scan, out.index.to_numpy())
    out = out.join(header.drop(columns="path"))
    counts = np.bincount(file_numbers(scan.files, scan.images.path), minlength=len(files))
    of_series = series.set_index("series_id").reindex(out.series_id)
    # Of a file that belongs to no series only its header can say whose it is, and only where DICOM's patient counts.
    raw = out.raw_patient.fillna("").astype("str")
    by_header = pseudonyms(salt, "patient", dataset, raw).where((raw != "") & (group == "patient_id"), "")
    out = described(out, dataset, salt).assign(
        patient_id=np.where(pd.isna(of_series.patient_id), by_header, of_series.patient_id),
        file_ids=[[name] for name in out.file_id],
        n_files=1,
        n_images=counts[out.index],
        n_missing=of_series.n_missing.to_numpy(),
        site=of_series.site.fillna("").to_numpy(),
        spacing_z_mm=of_series.spacing_z_mm.to_numpy(),
        tilt_deg=of_series.tilt_deg.to_numpy(),
        chunk=-1,
    )
    table = pd.concat([published(used), published(out)], ignore_index=True)
    first_file = table.file_ids.str[0]
    table = table.assign(first_file=first_file).sort_values(["verdict", "series_id", "first_file"], ascending=[0, 1, 1])
    return table[list(COLUMNS)].reset_index(drop=True)


def _chunk_rows(scan: ScanResult, grouped: Grouped, series: pd.DataFrame, chunks: int) -> dict[int, pd.DataFrame]:
    """One table per chunk, empty ones too."""
    of_series = series[series.reason == ""].set_index("series_key")[["series_id", "patient_id", "chunk"]]
    held = [name for name in CHUNK_COLUMNS if name in grouped.images]
    rows = grouped.images[["series_key", *held]].join(of_series, on="series_key", how="inner")
    rows = rows.sort_values(["series_id", "slice_index"])
    # Relative, so that a study's folder can be moved.
    places = {path: os.path.relpath(place) for path, place in scan.places.items()}
    rows["place"] = rows.path.map(places).fillna("").astype("str") if places else pd.Series("", rows.index, dtype="str")
    return {chunk: rows.loc[rows.chunk == chunk, CHUNK_COLUMNS].reset_index(drop=True) for chunk in range(chunks)}

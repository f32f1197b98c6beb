"""The catalogue: every file found below a dataset's root is used in a series, or excluded with one reason.

Headers are read once, here. Results name patients, series and files by pseudonyms; raw paths and identifiers are in
`files` and `chunk_rows`, which belong below `private/`. Everything is vectorised: a million series cost seconds after
their headers were read.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.identity import chunk_of, pseudonyms
from scanloom.labels import match_rows
from scanloom.readers._scan import Grouped, ScanResult, find_files

# Columns of the catalogue that are copied from the header of a series' first image.
HEADER = [
    "modality",
    "body_part",
    "manufacturer",
    "scanner_model",
    "kernel",
    "slice_thickness_mm",
    "rows",
    "columns",
    "photometric",
    "bits_stored",
    "signed",
    "rescale_slope",
    "rescale_intercept",
    "transfer_syntax",
    "kvp",
    "tube_current_ma",
]
COLUMNS = [
    "series_id",
    "patient_id",
    "verdict",
    "reason",
    "file_ids",
    "n_files",
    "n_images",
    "modality",
    "body_part",
    "manufacturer",
    "scanner_model",
    "kernel",
    "site",
    "slice_thickness_mm",
    "rows",
    "columns",
    "spacing_mm",
    "orientation",
    "photometric",
    "bits_stored",
    "signed",
    "rescale_slope",
    "rescale_intercept",
    "transfer_syntax",
    "tilt_deg",
    "kvp",
    "tube_current_ma",
    "chunk",
]
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
]
SITE_COLUMNS = ("institution", "manufacturer", "scanner_model", "kernel", "body_part", "modality")


class CatalogueError(ValueError):
    """The dataset cannot be catalogued as its file says; the message names no patient, id or path of an image."""


@dataclass(frozen=True)
class Catalogue:
    """catalogue: one row per used series or excluded file (COLUMNS), no raw value in it.
    files (private): file_id, path, verdict, reason, series_id ("" where a file holds several series).
    books: {"found", "used", "excluded", "reasons": {reason: files}}.
    chunk_rows (private): chunk -> one row per image of its series in stack order (CHUNK_COLUMNS).
    labels (private): the label table that was given or came with the images, all text; None: no labels.
    """

    catalogue: pd.DataFrame
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
    group: str | None = "patient_id",
    site: str | None = None,
    labels: pd.DataFrame | None = None,
    join: str = "path",
    key: str | None = None,
    declared: Iterable[str] = (),
    workers: int = 1,
) -> Catalogue:
    """The catalogue of all files below `root`.

    reader: name of a reader plug-in, `settings` its checked settings.
    group: unit of splits: "patient_id" (DICOM's, else the label table's column), another label-table column, or None.
    site: label-table column, or one of SITE_COLUMNS; None: DICOM's institution. Institutions are always pseudonyms.
    labels: label table, all columns text; None: the reader's own, if it has one. `join`, `key`: see labels.match_rows.
    declared: paths of label tables and masks: found, and excluded as declared.
    """
    root = Path(root)
    plugin = plugins.load("readers", reader)
    found = len(find_files(root))
    scan = plugin.scan(root, settings, modality=modality, declared=frozenset(declared), workers=workers)
    grouped = plugin.group_series(scan, settings)
    labels = scan.labels if labels is None else labels
    asked = labels is not None and not {group, site}.isdisjoint(labels.columns)
    rows = match_rows(grouped.images, labels, join, key) if asked else None

    series = _series_table(grouped, dataset, salt)
    series = _with_groups(series, grouped, group, labels, rows)
    series["patient_id"] = pseudonyms(salt, "patient", dataset, series.group)
    series["site"] = _sites(grouped, site, labels, rows, dataset, salt).reindex(series.series_key).to_numpy()
    used = series.reason == ""
    series["chunk"] = np.where(used, [chunk_of(series_id, chunks) for series_id in series.series_id], -1)

    files = _files_table(scan, grouped, series, dataset, salt)
    catalogue = _catalogue_table(scan, grouped, series, files, dataset, salt, group)
    books = balance_books(catalogue, files, found)
    if not used.any():
        raise CatalogueError(f"{dataset}: none of {found} files is usable: {books['reasons']}")
    return Catalogue(catalogue, files, books, _chunk_rows(grouped, series, chunks), labels)


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
        listed = set(catalogue.file_ids[catalogue.verdict == verdict].explode().dropna())
        expected = set(files.file_id[files.verdict == verdict])
        if listed != expected:
            raise CatalogueError(f"catalogue lists {len(listed)} {verdict} files, the file table {len(expected)}")
    if (excluded == "").any():
        raise CatalogueError(f"{int((excluded == '').sum())} excluded files have no reason")
    reasons = {str(reason): int(count) for reason, count in sorted(excluded.value_counts().items())}
    return {"found": found, "used": used, "excluded": len(excluded), "reasons": reasons}


def declared_files(root: Path, table: str | None, labels: pd.DataFrame | None, mask_column: str | None) -> frozenset:
    """Paths below root that the dataset file declares as non-images: the label table and the masks it names."""
    masks = set() if labels is None or mask_column is None else set(labels[mask_column].dropna()) - {""}
    return frozenset(Path(path).as_posix() for path in masks | ({table} if table else set()))


def unexpected_counts(catalogue: pd.DataFrame, expected: dict[str, int]) -> list[str]:
    """One sentence per published count ("series", "patients", "images") that the used series do not have."""
    used = catalogue[catalogue.verdict == "used"]
    have = {"series": len(used), "patients": used.patient_id.nunique(), "images": int(used.n_images.sum())}
    unknown = set(expected) - set(have)
    if unknown:
        raise CatalogueError(f"expected counts {sorted(unknown)} are unknown; known: {', '.join(have)}")
    return [f"expected {n} {what}, found {have[what]}" for what, n in expected.items() if have[what] != n]


def _absent(what: str, column: str, columns: Iterable[str]) -> str:
    """Message for a column that is not there."""
    columns = list(columns)
    return f"{what} '{column}' is absent. Columns: {', '.join(columns)}.{plugins.suggestion(column, columns)}"


def _series_table(grouped: Grouped, dataset: str, salt: str) -> pd.DataFrame:
    """series_key, reason, spacing, tilt, counts and headers of all series that were grouped."""
    by = grouped.images.groupby("series_key")
    series = grouped.series.copy()
    series["n_images"] = by.size().reindex(series.series_key).to_numpy()
    first = grouped.images.drop_duplicates("series_key").set_index("series_key")
    series = series.join(first[_header_columns()], on="series_key")
    series["series_id"] = pseudonyms(salt, "series", dataset, series.series_key)
    return series.reset_index(drop=True)


def _header_columns() -> list[str]:
    """Columns of an image's header that the catalogue uses."""
    return [*HEADER, "spacing_y_mm", "spacing_x_mm", *(f"orientation_{i}" for i in range(6))]


def _with_groups(series, grouped: Grouped, group: str | None, labels, rows) -> pd.DataFrame:
    """`series` with the raw split unit in `group`; a series of two units is excluded as "mixed patients"."""
    keys = grouped.images.series_key
    alone = "series " + series.series_key
    if group is None:
        return series.assign(group=alone)
    values = _group_values(grouped.images, group, labels, rows)
    by = values.groupby(keys)
    several = (by.nunique() > 1).reindex(series.series_key).to_numpy()
    raw = by.first().reindex(series.series_key).reset_index(drop=True)
    reason = series.reason.where(~several | (series.reason != ""), "mixed patients")
    return series.assign(group=raw.where(raw.notna(), alone).astype("str"), reason=reason)


def _group_values(images: pd.DataFrame, group: str, labels, rows) -> pd.Series:
    """The raw split unit of each image; missing where unknown. DICOM's patient, else study, comes before the table."""
    columns = [] if labels is None else list(labels.columns)
    if group == "patient_id" and ((images.raw_patient != "").any() or (images.study_uid != "").any()):
        study = ("study " + images.study_uid).where(images.study_uid != "", None)
        return images.raw_patient.where(images.raw_patient != "", study).astype(object)
    if group not in columns:
        if group == "patient_id":
            raise CatalogueError(
                "group is patient_id, but the images name no patient and the label table has no such column;"
                f" name the column that does ({', '.join(columns) or 'there is no label table'}), or say `group: null`"
                " if every image is a patient of its own"
            )
        raise CatalogueError(_absent("group column", group, columns))
    return _from_table(labels[group], rows, images.index)


def _from_table(column: pd.Series, rows: np.ndarray, index: pd.Index) -> pd.Series:
    """The column's value for each image; missing where the image has no row or the cell is empty."""
    values = column.astype(object).where(column.notna() & (column.astype(str) != ""), None).to_numpy()
    found = np.append(values, None)[rows]
    return pd.Series(found, index=index, dtype=object)


def _sites(grouped: Grouped, site: str | None, labels, rows, dataset: str, salt: str) -> pd.Series:
    """Site by series_key, "" where unknown."""
    images = grouped.images
    if site and labels is not None and site in labels.columns:
        values = _from_table(labels[site], rows, images.index).fillna("")
    elif site in (None, "institution"):
        hashed = pseudonyms(salt, "site", dataset, images.institution)
        values = hashed.where(images.institution != "", "")
    elif site in SITE_COLUMNS:
        values = images[site]
    else:
        raise CatalogueError(_absent("site column", site, [*([] if labels is None else labels.columns), *SITE_COLUMNS]))
    return values.astype("str").groupby(images.series_key).max()


def _files_table(scan: ScanResult, grouped: Grouped, series: pd.DataFrame, dataset: str, salt: str) -> pd.DataFrame:
    """One row per file: its verdict is its own, else that of its series (used, if one of several is used)."""
    of_series = series.set_index("series_key")
    images = grouped.images[["path", "series_key"]].drop_duplicates()
    images = images.join(of_series[["reason", "series_id"]], on="series_key")
    by = images.sort_values(["path", "reason"], kind="stable").groupby("path")
    reason = by.reason.first().reindex(scan.files.path).to_numpy()
    only = by.series_id.first().where(by.size() == 1, "").reindex(scan.files.path)
    known = scan.images[scan.images.series_uid != ""].drop_duplicates("path").set_index("path").series_uid
    known = pseudonyms(salt, "series", dataset, known).reindex(scan.files.path)
    files = pd.DataFrame(
        {
            "file_id": pseudonyms(salt, "file", dataset, scan.files.path),
            "path": scan.files.path,
            "reason": np.where(scan.files.ok, reason, scan.files.reason),
            "series_id": pd.Series(np.where(scan.files.ok, only, known)).fillna("").astype("str"),
        }
    )
    files["reason"] = files.reason.astype("str")
    files.insert(2, "verdict", pd.Series(np.where(files.reason == "", "used", "excluded"), dtype="str"))
    return files


def _catalogue_table(scan, grouped: Grouped, series, files, dataset: str, salt: str, group: str | None) -> pd.DataFrame:
    """Used series, then excluded files."""
    used = series[series.reason == ""]
    pairs = grouped.images[["series_key", "path"]].drop_duplicates()
    file_id = files.set_index("path").file_id
    pairs = pairs[pairs.series_key.isin(used.series_key)].sort_values("series_key", kind="stable")
    # Cutting one long array is a hundred times faster than a list per group.
    keys, start = np.unique(pairs.series_key.to_numpy(dtype=object), return_index=True)
    lists = np.split(file_id.reindex(pairs.path).to_numpy(dtype=object), start[1:])
    ids = pd.Series([part.tolist() for part in lists] if len(keys) else [], index=keys, dtype=object)
    used = used.assign(verdict="used", file_ids=ids.reindex(used.series_key).to_numpy())
    used["n_files"] = used.file_ids.str.len()

    out = files[files.verdict == "excluded"]
    header = scan.images.drop_duplicates("path").set_index("path")
    out = out.join(header[[*_header_columns(), "raw_patient"]], on="path")
    counts = scan.images.groupby("path").size()
    grouped_as = series.set_index("series_id")
    patient = grouped_as.patient_id.reindex(out.series_id).to_numpy()
    # Of a file that belongs to no series only its header can say whose it is, and only where DICOM's patient counts.
    raw = out.raw_patient.fillna("").astype("str")
    by_header = pseudonyms(salt, "patient", dataset, raw).where((raw != "") & (group == "patient_id"), "")
    out = out.assign(
        patient_id=np.where(pd.isna(patient), by_header, patient),
        file_ids=[[name] for name in out.file_id],
        n_files=1,
        n_images=counts.reindex(out.path).fillna(0).to_numpy().astype(int),
        site=grouped_as.site.reindex(out.series_id).fillna("").to_numpy(),
        spacing_z_mm=grouped_as.spacing_z_mm.reindex(out.series_id).to_numpy(),
        tilt_deg=grouped_as.tilt_deg.reindex(out.series_id).to_numpy(),
        chunk=-1,
    )
    table = pd.concat([_typed(used), _typed(out)], ignore_index=True)
    first_file = table.file_ids.str[0]
    table = table.assign(first_file=first_file).sort_values(["verdict", "series_id", "first_file"], ascending=[0, 1, 1])
    return table[COLUMNS].reset_index(drop=True)


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The catalogue's columns with their types; what is unknown of a file is "" or NaN or 0."""
    spacing = table[["spacing_z_mm", "spacing_y_mm", "spacing_x_mm"]].to_numpy(dtype=float).round(5)
    orientation = table[[f"orientation_{i}" for i in range(6)]].to_numpy(dtype=float).round(4) + 0.0
    table = table.assign(
        spacing_mm=pd.Series(list(spacing), index=table.index, dtype=object),
        orientation=pd.Series(list(orientation), index=table.index, dtype=object),
    )
    text = "series_id patient_id verdict reason modality body_part manufacturer scanner_model kernel site photometric"
    for column in [*text.split(), "transfer_syntax"]:
        table[column] = table[column].fillna("").astype("str")
    for column in ("n_files", "n_images", "rows", "columns", "bits_stored", "chunk"):
        table[column] = table[column].fillna(0).astype("int64")
    table["signed"] = table.signed.eq(True)
    return table[COLUMNS]


def _chunk_rows(grouped: Grouped, series: pd.DataFrame, chunks: int) -> dict[int, pd.DataFrame]:
    """One table per chunk, empty ones too."""
    of_series = series[series.reason == ""].set_index("series_key")[["series_id", "patient_id", "chunk"]]
    rows = grouped.images.join(of_series, on="series_key", how="inner").sort_values(["series_id", "slice_index"])
    return {chunk: rows.loc[rows.chunk == chunk, CHUNK_COLUMNS].reset_index(drop=True) for chunk in range(chunks)}

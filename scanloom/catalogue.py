"""The catalogue: every file found below a dataset's root is used in a series, or excluded with one reason.

Headers are read once, here. Results name patients, series and files by pseudonyms; raw paths and identifiers are in
`files`, `series` and `chunk_rows`, which belong below `private/`. Everything is vectorised: after the headers were
read, a million images cost 15 seconds as series of 100, 40 as pictures (benchmarks/catalogue_table.py).
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scanloom import plugins, selection
from scanloom.file_search import find_files
from scanloom.identity import chunk_of, pseudonyms
from scanloom.labels import match_rows
from scanloom.readers._scan import SECONDARY_CAPTURE, Grouped, ScanResult, file_numbers

TEXT, WHOLE, NUMBER, BOOLEAN = "str", "int64", "float64", "bool"

# Columns of results/<dataset>/catalogue.parquet, all of them: what is not listed here does not leave private/. Beside
# each stands why it may. Text that a scanner or a person wrote passes `_presentable` first.
COLUMNS = {
    "series_id": TEXT,  # pseudonym
    "patient_id": TEXT,  # pseudonym
    "study_id": TEXT,  # pseudonym
    "verdict": TEXT,  # ours
    "reason": TEXT,  # ours, or of the dataset file
    "detail": TEXT,  # ours: numbers of slices, degrees
    "phi_risk": TEXT,  # ours: kinds of places where identifiers may stand, never what stands there
    "file_ids": object,  # pseudonyms
    "n_files": WHOLE,  # a count
    "n_images": WHOLE,  # a count
    "n_missing": WHOLE,  # a count
    "modality": TEXT,  # a code (PS3.3 C.7.3.1.1.1)
    "body_part": TEXT,  # a code (PS3.16 annex L)
    "view_position": TEXT,  # a code
    "laterality": TEXT,  # a code
    "plane": TEXT,  # ours, from the orientation
    "image_type": TEXT,  # codes
    "patient_sex": TEXT,  # M, F, O: needed to see a bias; of itself nobody's
    "patient_age_years": NUMBER,  # no date; above 89 all are 90 (45 CFR 164.514(b)(2)(i)(C))
    "contrast_agent": BOOLEAN,  # whether, not which
    "manufacturer": TEXT,  # of the device
    "scanner_model": TEXT,  # of the device; neither its serial number nor its station name
    "kernel": TEXT,  # of the device
    "site": TEXT,  # as the dataset file chose; institutions are pseudonyms
    "slice_thickness_mm": NUMBER,  # technique, as all below
    "rows": WHOLE,
    "columns": WHOLE,
    "spacing_mm": object,
    "orientation": object,
    "photometric": TEXT,
    "bits_stored": WHOLE,
    "signed": BOOLEAN,
    "rescale_slope": NUMBER,
    "rescale_intercept": NUMBER,
    "transfer_syntax": TEXT,
    "tilt_deg": NUMBER,
    "kvp": NUMBER,
    "tube_current_ma": NUMBER,
    "echo_time_ms": NUMBER,
    "repetition_time_ms": NUMBER,
    "b_value": NUMBER,
    "header_repaired": BOOLEAN,
    "chunk": WHOLE,  # ours
}
WRITTEN = ("modality", "body_part", "view_position", "laterality", "image_type", "patient_sex", "manufacturer")
WRITTEN += ("scanner_model", "kernel", "photometric")
WITHHELD = "withheld"  # stands for text that might name somebody
# Columns of the private table of series: what conditions can use, the verdict, and the raw identifiers.
SERIES_COLUMNS = {name: selection.DTYPES[kind] for name, (kind, _) in selection.COLUMNS.items()} | dict.fromkeys(
    ("verdict", "reason", "detail", "phi_risk", "raw_patient", "series_uid", "study_uid", "institution"), TEXT
)
# Of a series' images the first one speaks, but these are of all of them: the largest, or true where one is.
OF_ALL_IMAGES = ("contrast_agent", "overlay_planes", "private_elements", "header_repaired")
PLANES = ("sagittal", "coronal", "axial")  # by the axis (x, y, z) that the slices' normal is nearest to
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
PLAIN_TEXT = re.compile(r"[A-Za-z0-9 _.,+*/()\\-]{0,64}")
LONG_NUMBER = re.compile(r"[0-9]{6}")
SITE_COLUMNS = ("institution", "manufacturer", "scanner_model", "kernel", "body_part", "modality")


class CatalogueError(ValueError):
    """The dataset cannot be catalogued as its file says; the message names no patient, id or path of an image."""


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
    site: label-table column, or one of SITE_COLUMNS; None: DICOM's institution. Institutions are always pseudonyms.
    labels: label table, all columns text; or what gives it from the paths of all files and members of archives; None:
        the reader's own, if it has one. `join`, `key`, `normalise`: see labels.match_rows.
    declared: paths of label tables and masks: found, and excluded as declared.
    unpack_to: private folder for what is in archives; None: archives stay closed.
    may_be_empty: also where no series is used; else that is an error, because a study cannot go on.
    Raises CatalogueError, selection.SelectionError, labels.LabelError.
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

    links = _links(scan, grouped)
    series = _series_table(grouped, links, dataset, salt)
    series = _with_groups(series, grouped, links, group, labels, rows)
    series["patient_id"] = pseudonyms(salt, "patient", dataset, series.group)
    series["site"] = _sites(grouped, links, site, labels, rows, dataset, salt)
    series["reason"] = _with_selection(series, links, where, exclude, labels, rows)
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
        _typed(private, SERIES_COLUMNS),
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


def _absent(what: str, column: str, columns: Iterable[str]) -> str:
    """Message for a column that is not there."""
    columns = list(columns)
    return f"{what} '{column}' is absent. Columns: {', '.join(columns)}.{plugins.suggestion(column, columns)}"


class _Links(NamedTuple):
    """Which series and files belong together, as row numbers: strings are compared once, here.

    image_series: series of each image `[images]`. series, file: pairs, sorted by both, each once; the data file of a
    detached header belongs where the header does.
    """

    image_series: np.ndarray
    series: np.ndarray
    file: np.ndarray


def _links(scan: ScanResult, grouped: Grouped) -> _Links:
    images, count = grouped.images, max(len(scan.files), 1)
    image_series = pd.Index(grouped.series.series_key).get_indexer(images.series_key)
    pairs = np.unique(image_series * count + file_numbers(scan.files, images.path))
    if scan.beside:
        data, header = (
            file_numbers(scan.files, pd.Series(list(paths), dtype="str"))
            for paths in zip(*scan.beside.items(), strict=True)
        )
        data_of = pd.Series(data, index=header).groupby(level=0).agg(list)
        further = [pair - pair % count + number for pair in pairs for number in data_of.get(pair % count, ())]
        pairs = np.unique(np.concatenate([pairs, np.array(further, dtype=np.int64)]))
    return _Links(image_series, *np.divmod(pairs, count))


def _first_rows(numbers: np.ndarray, count: int) -> np.ndarray:
    """Row in which each of the numbers 0 ... count-1 stands first."""
    first = np.zeros(count, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return first


def _series_table(grouped: Grouped, links: _Links, dataset: str, salt: str) -> pd.DataFrame:
    """series_key, reason, and what SERIES_COLUMNS and COLUMNS say of each grouped series; not yet its group."""
    series, images = grouped.series.reset_index(drop=True), grouped.images
    for column, unknown in (("detail", ""), ("n_missing", 0)):
        if column not in series:
            series[column] = unknown
    first = images.iloc[_first_rows(links.image_series, len(series))].reset_index(drop=True)
    series = series.join(first.drop(columns=["series_key", "slice_index", "position_mm"]))
    for column in OF_ALL_IMAGES:
        largest = np.zeros(len(series), images[column].dtype)
        np.maximum.at(largest, links.image_series, images[column].to_numpy())
        series[column] = largest
    burned_in = links.image_series[(images.burned_in == "YES").to_numpy()]
    series.loc[np.unique(burned_in), "burned_in"] = "YES"
    series["n_images"] = np.bincount(links.image_series, minlength=len(series))
    series["n_files"] = np.bincount(links.series, minlength=len(series))
    series["series_id"] = pseudonyms(salt, "series", dataset, series.series_key)
    return _described(series, dataset, salt)


def _described(table: pd.DataFrame, dataset: str, salt: str) -> pd.DataFrame:
    """The table with study_id, plane and phi_risk, which follow from the other columns."""
    study = pseudonyms(salt, "study", dataset, table.study_uid.fillna(""))
    cosines = table[[f"orientation_{i}" for i in range(6)]].to_numpy(dtype=float)
    normal = np.abs(np.cross(cosines[:, :3], cosines[:, 3:]))
    known = np.isfinite(normal).all(axis=1)
    plane = np.where(known, np.array(PLANES)[np.argmax(np.nan_to_num(normal), axis=1)], "")
    risks = [
        ("burned-in text", table.burned_in == "YES"),
        ("secondary capture", table.sop_class.fillna("").str.startswith(SECONDARY_CAPTURE)),
        ("overlay planes", table.overlay_planes.fillna(0) > 0),
        ("private elements", table.private_elements.fillna(0) > 0),
    ]
    phi_risk = np.full(len(table), "", dtype=object)
    for name, present in risks:
        phi_risk += np.where(present, f"{name}; ", "").astype(object)
    return table.assign(
        study_id=study.where(table.study_uid.fillna("") != "", ""),
        plane=plane,
        phi_risk=pd.Series(phi_risk, index=table.index, dtype="str").str.removesuffix("; "),
    )


def _with_selection(series, links: _Links, where: str | None, exclude: list, labels, rows) -> pd.Series:
    """`series.reason`, filled in by the conditions where a series has no other fault."""
    faultless = (series.reason == "").to_numpy()
    if not (where or exclude) or not faultless.any():
        return series.reason
    conditions = [*([where] if where else []), *(rule["where"] for rule in exclude)]
    named = dict.fromkeys(name for text in conditions for name in selection.label_columns(text))
    of_series = None
    if labels is not None:
        of_series = pd.DataFrame(index=series.index[faultless])
        for name in named:
            if name in labels.columns:
                value = _from_table(labels[name], rows, pd.RangeIndex(len(links.image_series)))
                of_series[name] = value.groupby(links.image_series).first().reindex(of_series.index)
    table = _typed(series[faultless], {name: SERIES_COLUMNS[name] for name in selection.COLUMNS})
    reason = series.reason.copy()
    reason[faultless] = selection.removal_reasons(table, where, exclude, of_series).to_numpy()
    return reason


def _with_groups(series, grouped: Grouped, links: _Links, group: str | None, labels, rows) -> pd.DataFrame:
    """`series` with the raw split unit in `group`; a series of two units is excluded as "mixed patients"."""
    alone = "series " + series.series_key
    if group is None:
        return series.assign(group=alone)
    by = _group_values(grouped.images, group, labels, rows).groupby(links.image_series)
    several = (by.nunique() > 1).reindex(series.index, fill_value=False).to_numpy()
    raw = by.first().reindex(series.index)
    reason = series.reason.where(~several | (series.reason != ""), "mixed patients")
    return series.assign(group=raw.where(raw.notna(), alone).astype("str"), reason=reason)


def _group_values(images: pd.DataFrame, group: str, labels, rows) -> pd.Series:
    """The raw split unit of each image; missing where unknown. DICOM's patient, else study, comes before the table."""
    columns = [] if labels is None else list(labels.columns)
    if images.empty:
        return pd.Series(index=images.index, dtype=object)
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


def _sites(grouped: Grouped, links: _Links, site: str | None, labels, rows, dataset: str, salt: str) -> pd.Series:
    """Site of each series, "" where unknown."""
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
    return values.astype("str").groupby(links.image_series).max().reindex(range(len(grouped.series)), fill_value="")


def _files_table(scan: ScanResult, links: _Links, series: pd.DataFrame, dataset: str, salt: str) -> pd.DataFrame:
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


def _catalogue_table(scan, links: _Links, series, files, dataset: str, salt: str, group: str | None) -> pd.DataFrame:
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
    out = _described(out, dataset, salt).assign(
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
    table = pd.concat([_shared(used), _shared(out)], ignore_index=True)
    first_file = table.file_ids.str[0]
    table = table.assign(first_file=first_file).sort_values(["verdict", "series_id", "first_file"], ascending=[0, 1, 1])
    return table[list(COLUMNS)].reset_index(drop=True)


def _shared(table: pd.DataFrame) -> pd.DataFrame:
    """The catalogue's COLUMNS of a table that knows more."""
    spacing = table[["spacing_z_mm", "spacing_y_mm", "spacing_x_mm"]].to_numpy(dtype=float).round(5)
    orientation = table[[f"orientation_{i}" for i in range(6)]].to_numpy(dtype=float).round(4) + 0.0
    raw_patient = table.raw_patient.fillna("")
    return _typed(
        table.assign(
            spacing_mm=pd.Series(list(spacing), index=table.index, dtype=object),
            orientation=pd.Series(list(orientation), index=table.index, dtype=object),
            **{column: _presentable(table[column].fillna(""), raw_patient) for column in WRITTEN},
        ),
        COLUMNS,
    )


def _presentable(texts: pd.Series, raw_patient: pd.Series) -> pd.Series:
    """The texts, "withheld" for those that might name somebody: odd characters, six digits on end, or the patient's id.

    DICOM separates the parts of a name by ^, and codes have no need of it, nor of @, colons or accents.
    """
    codes, distinct = pd.factorize(texts)
    plain = [text if PLAIN_TEXT.fullmatch(text) and not LONG_NUMBER.search(text) else WITHHELD for text in distinct]
    shown = np.array([*plain, ""], dtype=object)[codes]
    pairs = zip(raw_patient.tolist(), texts.tolist(), strict=True)
    names_patient = [len(raw) >= 4 and raw in text for raw, text in pairs]
    return pd.Series(np.where(names_patient, WITHHELD, shown), index=texts.index, dtype="str")


def _typed(table: pd.DataFrame, columns: dict) -> pd.DataFrame:
    """The columns with their types; what is unknown is "" or NaN or 0 or False."""
    out = {}
    for name, kind in columns.items():
        values = table[name]
        if kind == TEXT:
            values = values.fillna("").astype("str")
        elif kind == WHOLE:
            values = values.fillna(0).astype("int64")
        elif kind == BOOLEAN:
            values = values.eq(True)
        elif kind == NUMBER:
            values = values.astype("float64")
        out[name] = values
    return pd.DataFrame(out)


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

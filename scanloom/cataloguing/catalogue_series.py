"""What the catalogue says of each series: its files, first header, group, site, and the conditions it does not meet."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.cataloguing import selection
from scanloom.cataloguing.catalogue_columns import SERIES_COLUMNS, typed
from scanloom.identity import pseudonyms
from scanloom.readers._scan import SECONDARY_CAPTURE, Grouped, ScanResult, file_numbers

# Of a series' images the first one speaks, but these are of all of them: the largest, or true where one is.
OF_ALL_IMAGES = ("contrast_agent", "overlay_planes", "private_elements", "header_repaired")
PLANES = ("sagittal", "coronal", "axial")  # by the axis (x, y, z) that the slices' normal is nearest to
SITE_COLUMNS = ("institution", "manufacturer", "scanner_model", "kernel", "body_part", "modality")


class CatalogueError(ValueError):
    """The dataset cannot be catalogued as its file says; the message names no patient, id or path of an image."""


class Links(NamedTuple):
    """Which series and files belong together, as row numbers: strings are compared once, here.

    image_series: series of each image `[images]`. series, file: pairs, sorted by both, each once; the data file of a
    detached header belongs where the header does.
    """

    image_series: np.ndarray
    series: np.ndarray
    file: np.ndarray


def links_of(scan: ScanResult, grouped: Grouped) -> Links:
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
    return Links(image_series, *np.divmod(pairs, count))


def _first_rows(numbers: np.ndarray, count: int) -> np.ndarray:
    """Row in which each of the numbers 0 ... count-1 stands first."""
    first = np.zeros(count, np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return first


def series_table(grouped: Grouped, links: Links, dataset: str, salt: str) -> pd.DataFrame:
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
    return described(series, dataset, salt)


def described(table: pd.DataFrame, dataset: str, salt: str) -> pd.DataFrame:
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


def reasons_after_selection(series, links: Links, where: str | None, exclude: list, labels, rows) -> pd.Series:
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
    table = typed(series[faultless], {name: SERIES_COLUMNS[name] for name in selection.COLUMNS})
    reason = series.reason.copy()
    reason[faultless] = selection.removal_reasons(table, where, exclude, of_series).to_numpy()
    return reason


def with_groups(series, grouped: Grouped, links: Links, group: str | None, labels, rows) -> pd.DataFrame:
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


def sites(grouped: Grouped, links: Links, site: str | None, labels, rows, dataset: str, salt: str) -> pd.Series:
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


def _absent(what: str, column: str, columns: Iterable[str]) -> str:
    """Message for a column that is not there."""
    columns = list(columns)
    return f"{what} '{column}' is absent. Columns: {', '.join(columns)}.{plugins.suggestion(column, columns)}"

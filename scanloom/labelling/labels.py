"""Labels find their images: one row per image with its patient, site and class indices.

`label_tables` makes one table of text; `label_classes` turns its cells into class indices; `image_table` brings rows
and images together. Raw identifiers stand in the chunk rows (private) and in the label table; they are used for
matching and left behind.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from scanloom.identity import item_ids
from scanloom.labelling.label_classes import class_column, columns_of
from scanloom.labelling.label_tables import LabelError, normalised, require_columns, shapes

# What of an image (column of the chunk rows) is matched with the label table's key.
JOINS = {
    "sop_uid": "sop_uid",
    "series_uid": "series_uid",
    "patient_id": "raw_patient",
    "path": "path",
    "index": "frame",
}
SHARE = "_share"  # ending of the column with the share of readers who chose class 1


def _path_keys(paths: pd.Series) -> Iterator[pd.Series]:
    """Ways to name an image file, most specific first: path below the root, without extension, file name, stem."""
    yield paths
    codes, unique = pd.factorize(paths)
    names = [path.rpartition("/")[2] for path in unique]
    for ways in ([_stem(path) for path in unique], names, [_stem(name) for name in names]):
        yield pd.Series(np.asarray(ways, object)[codes], index=paths.index, dtype="str")


def _stem(path: str) -> str:
    """`images/a.nii.gz` -> `images/a`, `a.b.png` -> `a.b`, `.a` -> `.a`."""
    folder, slash, name = path.rpartition("/")
    base, _, _ = name.removesuffix(".gz").rpartition(".") if name.endswith(".nii.gz") else name.rpartition(".")
    return folder + slash + (base or name)


def _image_keys(chunk_rows: pd.DataFrame, label_table: pd.DataFrame, join: str) -> Iterator[pd.Series]:
    if join not in JOINS:
        raise LabelError(f"labels.join is '{join}'; known: {', '.join(JOINS)}")
    column = chunk_rows[JOINS[join]].astype("str")
    if join == "path":
        yield from _path_keys(column)
    elif join == "index" and "path" in label_table:
        # Labels that a reader supplies: the position within one of several arrays, each named by its path.
        yield chunk_rows["path"].astype("str") + "#" + column
    else:
        yield column


def match_rows(
    chunk_rows: pd.DataFrame,
    label_table: pd.DataFrame,
    join: str,
    key: str | None,
    normalise: dict[str, str] | None = None,
) -> np.ndarray:
    """Row of the label table for every image, int64 [images], -1 where no row matches.

    chunk_rows: all chunks of the dataset; columns path, frame, sop_uid, series_uid, raw_patient. join: what of an image
    is matched; key: the table's column (null: the same name). normalise: see `normalised`, on both. Raises LabelError
    if a key stands in rows that differ, or if no image has a row.
    """
    key = key or join
    require_columns(label_table, [key], "label table")
    keys = normalised(label_table[key].astype("str"), normalise)
    if join == "index" and "path" in label_table:
        keys = label_table["path"].astype("str") + "#" + keys
    rows = np.arange(len(keys))
    repeated = keys.duplicated(keep=False) & (keys != "")
    if repeated.any():
        differing = label_table[repeated].assign(_key=keys[repeated]).drop_duplicates()["_key"]
        torn = differing[differing.duplicated()]
        if len(torn):
            first = rows[(keys == torn.iloc[0]).to_numpy()][:2] + 1
            raise LabelError(
                f"label table: column '{key}' has one value in several rows that differ (data rows {first[0]} and "
                f"{first[1]}; {torn.nunique()} such values); with join '{join}' it must be unique"
            )
    row_of = pd.Series(rows, index=keys)
    row_of = row_of[~row_of.index.duplicated() & (row_of.index != "")]
    found = np.full(len(chunk_rows), -1)
    for given in _image_keys(chunk_rows, label_table, join):
        names = normalised(given, normalise)
        place = names.map(row_of)
        new = (found < 0) & place.notna().to_numpy()
        found[new] = place.to_numpy()[new].astype(int)
        if join == "path":
            _assert_unambiguous(chunk_rows["path"][new], names[new], key)
        if (found >= 0).all():
            break
    if len(chunk_rows) and (found < 0).all():
        raise LabelError(
            f"no image matches the label table: join '{join}' compares {len(chunk_rows)} images' keys of the form "
            f"{shapes(names)} with column '{key}', whose {len(keys)} values have the form {shapes(keys)} "
            "(A, a, 9: letters and digits, with their number). Check labels.join and labels.key"
        )
    return found


def _assert_unambiguous(paths: pd.Series, names: pd.Series, key: str) -> None:
    files = pd.DataFrame({"path": paths, "name": names}).drop_duplicates()
    if files["name"].duplicated().any():
        count = files["name"].duplicated(keep=False).sum()
        raise LabelError(
            f"label table: column '{key}' names files without their folder, but {count} image files share such a "
            "name; write paths relative to the dataset's root"
        )


def image_table(
    chunk_rows: pd.DataFrame,
    catalogue: pd.DataFrame,
    label_table: pd.DataFrame | None,
    columns: dict[str, dict],
    join: str,
    key: str | None = None,
    *,
    normalise: dict[str, str] | None = None,
    mask_column: str | None = None,
    official_column: str | None = None,
) -> pd.DataFrame:
    """One row per image: item_id, series_id, slice_index, patient_id, site, one column per label, has_mask.

    chunk_rows: rows of private/<dataset>/chunks. catalogue: gives the site, by series. columns: label -> as in a
    dataset file ("classes", ...; see class_column). A label that is the mean of several readers has `<label>_share`
    beside it. official_column: published splits, given as the extra column official_split. Images without a label row
    keep NaN labels and no mask.
    """
    table = chunk_rows[["series_id", "slice_index", "patient_id"]].reset_index(drop=True)
    table.insert(0, "item_id", item_ids(table["series_id"], table["slice_index"]))
    used = [column for column in (mask_column, official_column) if column]
    if label_table is None:
        if columns or used:
            raise LabelError(f"labels {[*columns, *used]} are declared but there is no label table (labels.table)")
        label_table, rows = pd.DataFrame(), np.full(len(table), -1)
    else:
        cells = [cell for name, label in columns.items() for cell in columns_of(name, label)]
        require_columns(label_table, [key or join, *cells, *used], "label table")
        # Rows that differ in other columns only are no contradiction.
        needed = {key or join, *cells, *used, *({"path"} & set(label_table) if join == "index" else ())}
        label_table = label_table[sorted(needed)]
        rows = match_rows(chunk_rows, label_table, join, key, normalise)
    table["site"] = _site(table["series_id"], catalogue)
    for name, label in columns.items():
        indices, share = class_column(label_table, name, label)
        for column, values in ((name, indices), (name + SHARE, share)):
            if values is not None:
                table[column] = np.where(rows >= 0, values.to_numpy()[rows], np.nan) if len(values) else np.nan
    table["has_mask"] = _of_rows(label_table, mask_column, rows) != "" if mask_column else False
    if official_column:
        table["official_split"] = _of_rows(label_table, official_column, rows)
    return table


def _of_rows(label_table: pd.DataFrame, column: str, rows: np.ndarray) -> np.ndarray:
    """The column's text for every image; empty where no row matches."""
    if not len(label_table):
        return np.full(len(rows), "", object)
    return np.where(rows >= 0, label_table[column].fillna("").to_numpy(object)[rows], "")


def _site(series_id: pd.Series, catalogue: pd.DataFrame) -> pd.Series:
    """The catalogue's site of every image's series; empty where unknown."""
    used = catalogue[catalogue["verdict"] == "used"]
    return series_id.map(used.set_index("series_id")["site"]).fillna("").astype("str")


def mask_table(
    chunk_rows: pd.DataFrame,
    label_table: pd.DataFrame,
    join: str,
    key: str | None,
    mask_column: str,
    normalise: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Images with a mask: item_id, series_id, slice_index, mask_path (relative to the root; belongs below private/)."""
    require_columns(label_table, [key or join, mask_column], "label table")
    label_table = label_table[sorted({key or join, mask_column})]
    paths = _of_rows(label_table, mask_column, match_rows(chunk_rows, label_table, join, key, normalise))
    table = chunk_rows[["series_id", "slice_index"]].reset_index(drop=True).assign(mask_path=paths)
    table.insert(0, "item_id", item_ids(table["series_id"], table["slice_index"]))
    return table[table["mask_path"] != ""].astype({"mask_path": "str"}).reset_index(drop=True)

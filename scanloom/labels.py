"""Labels find their images: one row per image with its patient, site and class indices.

Raw identifiers stand in the chunk rows (private) and in the label table; they are used for matching and left behind.
Error messages show the *shape* of keys (letters, digits, lengths), never a key.
"""

import re
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from scanloom.identity import item_ids
from scanloom.plugins import suggestion

# What of an image (column of the chunk rows) is matched with the label table's key.
JOINS = {
    "sop_uid": "sop_uid",
    "series_uid": "series_uid",
    "patient_id": "raw_patient",
    "path": "path",
    "index": "frame",
}
MISSING = {"", "nan", "na", "n/a", "none", "null"}


class LabelError(ValueError):
    """Labels that do not fit the images or the dataset file."""


def read_label_table(path: Path) -> pd.DataFrame:
    """CSV or TSV with every value as text, names and values stripped of blanks; missing values are empty strings."""
    path = Path(path)
    if not path.is_file():
        raise LabelError(f"label table {path.name} not found in the dataset's root (labels.table)")
    separator = "\t" if path.suffix in (".tsv", ".tab") else ","
    table = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    table.columns = table.columns.str.strip()
    if table.columns.duplicated().any():
        raise LabelError(f"{path.name}: column '{table.columns[table.columns.duplicated()][0]}' stands there twice")
    return table.apply(lambda column: column.str.strip())


def require_columns(table: pd.DataFrame, columns: list[str], what: str) -> None:
    """Raise LabelError naming the first absent column, the present ones, and a suggestion."""
    for column in columns:
        if column not in table:
            known = list(map(str, table.columns))
            raise LabelError(f"{what}: no column '{column}'. Columns: {', '.join(known)}.{suggestion(column, known)}")


def _shape_of(key: str) -> str:
    """`TCGA-17-Z021` -> `A4-92-A193`: kinds of characters with their counts, nothing of the value."""
    kinds = re.sub(r"[0-9]", "9", re.sub(r"[a-z]", "a", re.sub(r"[A-Z]", "A", key)))
    kinds = re.sub(r"[^aA9._/\\-]", "?", kinds)
    return re.sub(r"([aA9?])\1*", lambda run: f"{run.group(1)}{len(run.group(0))}", kinds)


def _shapes(keys: pd.Series) -> str:
    return ", ".join(keys.drop_duplicates().head(200).map(_shape_of).value_counts().index[:3]) or "none"


def _path_keys(paths: pd.Series) -> list[pd.Series]:
    """Ways to name an image file, most specific first: path below the root, without extension, file name, stem."""
    unique = paths.drop_duplicates()
    ways = [
        unique.to_numpy(),
        [str(PurePosixPath(p).with_suffix("")) for p in unique],
        [PurePosixPath(p).name for p in unique],
        [PurePosixPath(p).stem for p in unique],
    ]
    return [paths.map(pd.Series(list(names), index=unique)) for names in ways]


def _image_keys(chunk_rows: pd.DataFrame, label_table: pd.DataFrame, join: str) -> list[pd.Series]:
    if join not in JOINS:
        raise LabelError(f"labels.join is '{join}'; known: {', '.join(JOINS)}")
    column = chunk_rows[JOINS[join]]
    if join == "path":
        return _path_keys(column.astype("str"))
    if join == "index" and "path" in label_table:
        # Labels that a reader supplies: the position within one of several arrays, each named by its path.
        return [chunk_rows["path"].astype("str") + "#" + column.astype("str")]
    return [column.astype("str")]


def match_rows(chunk_rows: pd.DataFrame, label_table: pd.DataFrame, join: str, key: str | None) -> np.ndarray:
    """Row of the label table for every image, int64 [images], -1 where no row matches.

    chunk_rows: all chunks of the dataset; columns path, frame, sop_uid, series_uid, raw_patient. join: what of an image
    is matched; key: the table's column (null: the same name). Raises LabelError if a key stands in rows that differ, or
    if no image has a row.
    """
    key = key or join
    require_columns(label_table, [key], "label table")
    candidates = _image_keys(chunk_rows, label_table, join)
    keys = label_table[key].astype("str")
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
    for names in candidates:
        place = names.map(row_of)
        new = (found < 0) & place.notna().to_numpy()
        found[new] = place.to_numpy()[new].astype(int)
        if join == "path":
            _assert_unambiguous(chunk_rows["path"][new], names[new], key)
    if len(chunk_rows) and (found < 0).all():
        raise LabelError(
            f"no image matches the label table: join '{join}' compares {len(chunk_rows)} images' keys of the form "
            f"{_shapes(candidates[-1])} with column '{key}', whose {len(keys)} values have the form {_shapes(keys)} "
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


def class_indices(values: pd.Series, column: str, classes: list[str], mapping: dict[str, int] | None) -> pd.Series:
    """Raw values as class indices, float64, NaN where missing.

    mapping: raw value -> index; null: a raw value is a class name or an index (`1` or `1.0`). Raises LabelError listing
    values that are neither.
    """
    text = values.astype("str").str.strip()
    index_of = {str(k): int(v) for k, v in mapping.items()} if mapping else {name: i for i, name in enumerate(classes)}
    index = text.map(index_of).astype("float64")
    if not mapping:
        index = index.fillna(pd.to_numeric(text, errors="coerce"))
    missing = text.str.lower().isin(MISSING) & ~text.isin(list(index_of))
    index[missing] = np.nan
    bad = ~missing & ~index.isin(range(len(classes)))
    if bad.any():
        shown = ", ".join(map(repr, sorted(text[bad].unique())[:5]))
        raise LabelError(
            f"label column '{column}': {shown} is no class of {classes}; map raw values with "
            f"labels.columns.{column}.values"
        )
    return index


def image_table(
    chunk_rows: pd.DataFrame,
    catalogue: pd.DataFrame,
    label_table: pd.DataFrame | None,
    columns: dict[str, dict],
    join: str,
    key: str | None = None,
    *,
    mask_column: str | None = None,
    official_column: str | None = None,
) -> pd.DataFrame:
    """One row per image: item_id, series_id, slice_index, patient_id, site, one column per label, has_mask.

    chunk_rows: rows of private/<dataset>/chunks. catalogue: gives the site, by series. columns: label column ->
    {"classes": [...], "values": {...} or null}. official_column: published splits, given as the extra column
    official_split. Images without a label row keep NaN labels, an empty site and no mask.
    """
    table = chunk_rows[["series_id", "slice_index", "patient_id"]].reset_index(drop=True)
    table.insert(0, "item_id", item_ids(table["series_id"], table["slice_index"]))
    used = [column for column in (mask_column, official_column) if column]
    if label_table is None:
        if columns or used:
            raise LabelError(f"labels {[*columns, *used]} are declared but there is no label table (labels.table)")
        label_table, rows = pd.DataFrame(), np.full(len(table), -1)
    else:
        require_columns(label_table, [key or join, *columns, *used], "label table")
        # Rows that differ in other columns only are no contradiction.
        needed = {key or join, *columns, *used, *({"path"} & set(label_table) if join == "index" else ())}
        label_table = label_table[sorted(needed)]
        rows = match_rows(chunk_rows, label_table, join, key)
    table["site"] = _site(table["series_id"], catalogue)
    for column, label in columns.items():
        indices = class_indices(label_table[column], column, label["classes"], label.get("values")).to_numpy()
        table[column] = np.where(rows >= 0, indices[rows], np.nan) if len(indices) else np.nan
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
    chunk_rows: pd.DataFrame, label_table: pd.DataFrame, join: str, key: str | None, mask_column: str
) -> pd.DataFrame:
    """Images with a mask: item_id, series_id, slice_index, mask_path (relative to the root; belongs below private/)."""
    require_columns(label_table, [key or join, mask_column], "label table")
    label_table = label_table[sorted({key or join, mask_column})]
    paths = _of_rows(label_table, mask_column, match_rows(chunk_rows, label_table, join, key))
    table = chunk_rows[["series_id", "slice_index"]].reset_index(drop=True).assign(mask_path=paths)
    table.insert(0, "item_id", item_ids(table["series_id"], table["slice_index"]))
    return table[table["mask_path"] != ""].astype({"mask_path": "str"}).reset_index(drop=True)

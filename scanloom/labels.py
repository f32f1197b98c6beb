"""Labels find their images: one row per image with its patient, site and class indices.

`read_labels` makes one table of text out of label tables, lists and file names; `class_column` turns its cells into
class indices; `image_table` brings rows and images together. Raw identifiers stand in the chunk rows (private) and in
the label table; they are used for matching and left behind. Error messages show the *shape* of keys (letters, digits,
lengths), never a key.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import consensus
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
SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "blanks": r"\s+"}
MASK = "mask"  # column of the masks that are found by `masks.file`
SHARE = "_share"  # ending of the column with the share of readers who chose class 1
UNCERTAIN = {"ignore": np.nan, "zero": 0.0, "one": 1.0}


class LabelError(ValueError):
    """Labels that do not fit the images or the dataset file."""


def read_labels(root: Path, labels: dict, paths: Iterable[str] = (), masks: dict | None = None) -> pd.DataFrame | None:
    """The dataset's labels as one table, all text, with the columns of its tables, lists and expressions.

    labels: the key `labels` of a dataset file; masks: its key `masks`. paths: files below the root, for labels that
    stand in folder and file names. None: there is neither a table nor an expression for paths, so the reader may supply
    labels. Raises LabelError.
    """
    root = Path(root)
    if labels["table"] is not None:
        parts = [read_label_table(root / name, labels["format"]) for name in _main_tables(root, labels)]
        table = pd.concat(parts, ignore_index=True).fillna("")
    elif "path" in labels["extract"]:
        table = pd.DataFrame({"path": list(paths)}, dtype="str")
    else:
        return None
    for other in labels["more_tables"]:
        table = _joined(table, root, labels, other)
    for column, files in labels["lists"].items():
        table[column] = _listed(table[labels["key"] or labels["join"]], root, files, labels["normalise"])
    for column, expression in labels["extract"].items():
        table = _extracted(table, column, expression, drop=labels["table"] is None and column == "path")
    for column, meaning in labels["recode"].items():
        require_columns(table, [column], "labels.recode")
        table[column] = table[column].replace(meaning)
    if masks and masks["file"]:
        table[MASK] = _mask_files(table, root, masks["file"])
    return table


def label_files(root: Path, labels: dict) -> list[str]:
    """Paths below the root of all tables and lists that `read_labels` reads."""
    root = Path(root)
    more = [_one_file(root, other["table"]) for other in labels["more_tables"]]
    lists = [_one_file(root, name) for files in labels["lists"].values() for name in files.values()]
    return [*(_main_tables(root, labels) if labels["table"] else []), *more, *lists]


def mask_column(masks: dict | None) -> str | None:
    """The label table's column with the images' masks; None: the dataset file declares none."""
    return (masks["table_column"] or MASK) if masks else None


def _main_tables(root: Path, labels: dict) -> list[str]:
    tables = labels["table"]
    return [_one_file(root, name) for name in ([tables] if isinstance(tables, str) else tables)]


def _one_file(root: Path, pattern: str) -> str:
    """Path below the root of the one file that fits. Raises LabelError if there is none, or more than one."""
    if (root / pattern).is_file():
        return pattern
    fitting = sorted(path for path in root.glob(pattern) if path.is_file())
    if len(fitting) == 1:
        return fitting[0].relative_to(root).as_posix()
    found = f"fits {len(fitting)} files" if fitting else "not found"
    raise LabelError(f"label table {pattern} {found} in the dataset's root; give the path of one file below it")


def read_label_table(path: Path, written: dict | None = None) -> pd.DataFrame:
    """CSV or TSV with every value as text, names and values stripped of blanks; missing values are empty strings.

    written: separator, skip_rows, header, as in a dataset file; null: a header, and what the file's name says.
    """
    path, written = Path(path), written or {}
    if not path.is_file():
        raise LabelError(f"label table {path.name} not found in the dataset's root (labels.table)")
    by_name = "tab" if path.suffix in (".tsv", ".tab") else "comma"
    separator, header = written.get("separator") or by_name, written.get("header")
    try:
        table = pd.read_csv(
            path,
            sep=SEPARATORS[separator],
            skiprows=written.get("skip_rows", 0),
            header=None if header else 0,
            names=header,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        )
    except (ValueError, pd.errors.ParserError) as error:
        raise LabelError(
            f"label table {path.name} cannot be read as text separated by {separator}: {type(error).__name__}. Correct"
            " labels.format (separator, skip_rows, header)"
        ) from None
    if not isinstance(table.index, pd.RangeIndex):
        raise LabelError(
            f"label table {path.name}: its rows have more cells than its header; give labels.format.header"
        )
    table.columns = table.columns.astype("str").str.strip()
    if table.columns.duplicated().any():
        raise LabelError(f"{path.name}: column '{table.columns[table.columns.duplicated()][0]}' stands there twice")
    return table.fillna("").apply(lambda column: column.astype("str").str.strip())


def _joined(table: pd.DataFrame, root: Path, labels: dict, other: dict) -> pd.DataFrame:
    """`table` with the columns that another table holds for the same keys; empty where it has no such row."""
    name, key = _one_file(root, other["table"]), labels["key"] or labels["join"]
    further = read_label_table(root / name, other)
    own = other["key"] or key
    require_columns(further, [own], f"label table {name}")
    require_columns(table, [key], "label table")
    known = set(table) & (set(further) - {own})
    if known:
        raise LabelError(f"label table {name}: column '{min(known)}' stands in another table of the dataset too")
    keys = normalised(further[own], labels["normalise"])
    if keys.duplicated().any():
        raise LabelError(f"label table {name}: {int(keys.duplicated().sum())} values of '{own}' stand there twice")
    further = further.drop(columns=own).set_index(keys)
    return table.assign(**further.reindex(normalised(table[key], labels["normalise"])).fillna("").set_axis(table.index))


def _listed(keys: pd.Series, root: Path, files: dict[str, str], rules: dict[str, str]) -> pd.Series:
    """For every key the value of the list that holds it; empty where none does. Raises LabelError if two do."""
    value = pd.Series("", index=keys.index, dtype="str")
    keys = normalised(keys, rules)
    for name, pattern in files.items():
        lines = (root / _one_file(root, pattern)).read_text(encoding="utf-8-sig").split("\n")
        inside = keys.isin(set(normalised(pd.Series(lines, dtype="str").str.strip(), rules)) - {""})
        if (inside & (value != "")).any():
            raise LabelError(f"{pattern}: {int((inside & (value != '')).sum())} of its keys stand in another list too")
        value[inside] = name
    return value


def _extracted(table: pd.DataFrame, column: str, expression: str, drop: bool) -> pd.DataFrame:
    """`table` with the named groups of an expression searched in `column`; `drop`: without rows it does not fit."""
    require_columns(table, [column], "labels.extract")
    fitting = table[column].map(re.compile(expression).search)
    if not fitting.notna().any():
        raise LabelError(
            f"labels.extract: '{expression}' fits none of {len(table)} values of '{column}', which have the form"
            f" {_shapes(table[column])} (A, a, 9: letters and digits, with their number)"
        )
    if drop:
        table, fitting = table[fitting.notna()].reset_index(drop=True), fitting.dropna().reset_index(drop=True)
    groups = [match.groupdict("") if match else {} for match in fitting]
    return table.assign(
        **pd.DataFrame(groups, index=table.index, columns=list(re.compile(expression).groupindex)).fillna("")
    )


def _mask_files(table: pd.DataFrame, root: Path, template: str) -> pd.Series:
    """The template filled in for every row; empty where there is no such file."""
    require_columns(table, re.findall(r"\{(.+?)\}", template), "masks.file")
    rows = table.to_dict("records")
    paths = pd.Series([template.format_map(row) for row in rows], index=table.index, dtype="str")
    there = {path: (root / path).is_file() for path in paths.unique()}
    return paths.where(paths.map(there).astype(bool), "")


def normalised(keys: pd.Series, rules: dict[str, str] | None) -> pd.Series:
    """Keys with every rule (regular expression -> replacement) applied in order: CQ500-CT-7 -> CQ500CT7."""
    if not rules:
        return keys
    codes, distinct = pd.factorize(keys.astype("str"))
    for expression, replacement in rules.items():
        compiled = re.compile(expression)
        distinct = [compiled.sub(replacement, key) for key in distinct]
    return pd.Series(np.asarray(distinct, object)[codes], index=keys.index, dtype="str")


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
            f"{_shapes(names)} with column '{key}', whose {len(keys)} values have the form {_shapes(keys)} "
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


def columns_of(name: str, label: dict) -> list[str]:
    """The label table's columns that a label is made of."""
    return label.get("readers") or label.get("one_hot") or [label.get("column") or name]


def class_column(table: pd.DataFrame, name: str, label: dict) -> tuple[pd.Series, pd.Series | None]:
    """(class index, share of readers who chose class 1 or None), float64 by row of the table; NaN: no label.

    label: a label of a dataset file ("classes"; "values", "column", "contains", "one_hot", "readers", ... or absent).
    Raises LabelError naming the column and values that are no class.
    """
    if label.get("readers"):
        reads = reads_of(table, label)
        chosen, share = consensus.combine(reads, len(label["classes"]), label.get("consensus", "majority"))
        shared = pd.Series(share, table.index) if label.get("consensus") == "mean" else None
        return pd.Series(chosen, table.index), shared
    if label.get("one_hot"):
        return _hottest(table, name, label), None
    return _cells(table[label.get("column") or name], name, label), None


def reads_of(table: pd.DataFrame, label: dict) -> np.ndarray:
    """Class indices that every reader gave, float64 [rows, readers], NaN where a reader said nothing."""
    return np.stack([_cells(table[column], column, label).to_numpy() for column in label["readers"]], axis=1)


def reader_agreement(table: pd.DataFrame | None, columns: dict[str, dict], seed: int = 0) -> pd.DataFrame:
    """How far readers agree on each label that several gave, over all rows of the table: consensus.agreement_table."""
    read = {name: label for name, label in columns.items() if label.get("readers")}
    return consensus.agreement_table(
        {name: (reads_of(table, label), len(label["classes"])) for name, label in read.items()}, seed
    )


def _cells(values: pd.Series, name: str, label: dict) -> pd.Series:
    """One column's cells as class indices: lists, uncertain and blank cells first, then class_indices."""
    text = values.astype("str").str.strip()
    blank = text.str.lower().isin(MISSING - set(map(str.lower, [*(label.get("values") or {}), *label["classes"]])))
    if label.get("contains") is not None:
        items = text[~blank].str.split(label.get("separator", "|"), regex=False)
        index = pd.Series(np.nan, text.index)
        index[~blank] = [float(label["contains"] in {item.strip() for item in cell}) for cell in items]
    else:
        unsure = _one_of(text, label.get("uncertain") or [])
        index = class_indices(text.mask(unsure, ""), name, label["classes"], label.get("values"))
        index[unsure] = UNCERTAIN[label.get("uncertain_as", "ignore")]
    if label.get("blank") is not None:
        index[blank] = float(label["blank"])
    return index


def _one_of(text: pd.Series, values: list[str]) -> pd.Series:
    """True where a cell is one of the values, as text or as a number (-1 is -1.0)."""
    numbers = pd.to_numeric(pd.Series(values, dtype="str"), errors="coerce").dropna()
    return text.isin(values) | pd.to_numeric(text, errors="coerce").isin(numbers)


def _hottest(table: pd.DataFrame, name: str, label: dict) -> pd.Series:
    """Index of the one column that holds 1; NaN where none does. Raises LabelError where several do."""
    cells = table[label["one_hot"]].apply(pd.to_numeric, errors="coerce").fillna(0)
    if not cells.isin([0, 1]).all(axis=None):
        odd = ", ".join(f"{value:g}" for value in np.setdiff1d(cells, [0, 1])[:5])
        raise LabelError(f"label '{name}': its one_hot columns hold {odd}; expected 0 and 1")
    several = cells.sum(axis=1) > 1
    if several.any():
        raise LabelError(
            f"label '{name}': {int(several.sum())} rows hold 1 in several one_hot columns (data row"
            f" {int(np.flatnonzero(several)[0]) + 1} first); classes exclude each other. Use multilabel instead"
        )
    return pd.Series(np.where(cells.sum(axis=1) == 1, cells.to_numpy().argmax(axis=1), np.nan), table.index)


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

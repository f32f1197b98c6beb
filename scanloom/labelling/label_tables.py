"""One table of text out of label tables, lists, and file and folder names.

Raw identifiers stand in it. Error messages show the *shape* of keys (letters, digits, lengths), never a key.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom.plugins import suggestion

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "blanks": r"\s+"}
MASK = "mask"  # column of the masks that are found by `masks.file`


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
    if len(table.columns) == 1 and separator == "comma" and ";" in table.columns[0]:
        raise LabelError(
            f"label table {path.name} has one column if commas separate them; set labels.format.separator: semicolon"
        )
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
            f" {shapes(table[column])} (A, a, 9: letters and digits, with their number)"
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
    if there and not any(there.values()):
        raise LabelError(
            f"masks.file: '{template}', filled in for {len(there)} rows of the label table, is never a file below the "
            "dataset's root; correct it, or drop `masks`"
        )
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


def shapes(keys: pd.Series) -> str:
    """The three forms that most keys have, for error messages."""
    return ", ".join(keys.drop_duplicates().head(200).map(_shape_of).value_counts().index[:3]) or "none"

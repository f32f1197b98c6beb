"""Cells of a label table as class indices: binary, of several classes, lists, one-hot columns, several readers."""

import numpy as np
import pandas as pd

from scanloom.labelling import consensus
from scanloom.labelling.label_tables import LabelError

MISSING = {"", "nan", "na", "n/a", "none", "null"}
UNCERTAIN = {"ignore": np.nan, "zero": 0.0, "one": 1.0}


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

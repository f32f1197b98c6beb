"""The `labels` and `masks` of a dataset file as typed models."""

import re
from typing import Literal

from pydantic import Field, model_validator

from scanloom.strict_models import Name, Strict

Consensus = Literal["majority", "any", "unanimous", "mean"]
Uncertain = Literal["ignore", "zero", "one"]


class Label(Strict):
    """One label: its classes, and the cells of the label table that say which."""

    kind: Literal["binary", "multiclass", "ordinal"] = Field(
        description="binary: two classes; multiclass: exclusive classes; ordinal: exclusive classes in order"
    )
    classes: list[str] = Field(min_length=2, description="class names in the order of their indices")
    values: dict[str, int] | None = Field(
        None, description="raw table value -> class index; null: the raw values are the indices or the class names"
    )
    column: str | None = Field(None, description="the table's column; null: the label's own name")
    contains: str | None = Field(
        None, description="the column holds a list (Mass|Nodule): class 1 where this is one of its items, else 0"
    )
    separator: str = Field("|", min_length=1, description="what stands between the items of such a list")
    one_hot: list[str] | None = Field(
        None, min_length=2, description="one column per class, in the order of classes: the one that holds 1 says which"
    )
    readers: list[str] | None = Field(
        None, min_length=2, description="one column per reader of the same images; their agreement is reported"
    )
    consensus: Consensus = Field(
        "majority",
        description="several readers -> one label. majority: more than half of those who said anything (a tie is no "
        "label); any, unanimous: class 1 if one says so, if all say so; mean: as majority, and their share beside it",
    )
    uncertain: list[str] = Field([], description="raw values that mean 'uncertain'")
    uncertain_as: Uncertain = Field("ignore", description="what they count as: no label, class 0, class 1")
    blank: int | None = Field(None, description="class of an empty cell of a table row; null: no label")

    @model_validator(mode="after")
    def _consistent(self):
        count = len(self.classes)
        if self.kind == "binary" and count != 2:
            raise ValueError(f"a binary label has two classes, not {count}")
        if sum(given is not None for given in (self.contains, self.one_hot, self.readers)) > 1:
            raise ValueError("contains, one_hot and readers exclude each other: a label comes from one of them")
        if self.column is not None and (self.one_hot or self.readers):
            raise ValueError("column stands beside one_hot or readers, which name the columns themselves; drop it")
        if self.one_hot and len(self.one_hot) != count:
            raise ValueError(f"one_hot names {len(self.one_hot)} columns for {count} classes")
        two_only = self.uncertain or self.contains or (self.readers and self.consensus != "majority")
        if two_only and count != 2:
            raise ValueError(
                "uncertain, contains and the consensus any, unanimous and mean need two classes;"
                f" this label has {count}. For several readers say `consensus: majority`"
            )
        for key, index in {**(self.values or {}), **({} if self.blank is None else {"blank": self.blank})}.items():
            if not 0 <= index < count:
                raise ValueError(f"'{key}' is class {index}, but the classes are 0 to {count - 1}")
        return self


class Findings(Strict):
    """Findings of one kind, each absent, present or unknown. Every finding becomes a binary label of its own."""

    columns: dict[Name, str] = Field(
        min_length=1,
        description="finding -> its column in the table; with list_column the item of the list; with readers what "
        "stands for {} in their columns",
    )
    list_column: str | None = Field(None, description="column that holds the findings as a list (Mass|Nodule)")
    separator: str = Field("|", min_length=1, description="what stands between the items of the list")
    values: dict[str, int] | None = Field(None, description="raw table value -> 0 (absent) or 1 (present)")
    readers: list[str] | None = Field(None, min_length=2, description='one column per reader, as in "R1:{}"')
    consensus: Consensus = "majority"
    uncertain: list[str] = Field([], description="raw values that mean 'uncertain'")
    uncertain_as: Uncertain = Field("ignore", description="what they count as: no label, absent, present")
    blank: int | None = Field(None, description="what an empty cell means: 0 absent, 1 present; null: no label")

    def as_labels(self) -> dict[str, Label]:
        """One binary label per finding."""
        same = {"values": self.values, "uncertain": self.uncertain, "uncertain_as": self.uncertain_as}
        labels = {}
        for name, column in self.columns.items():
            if self.readers:
                place = {"readers": [r.replace("{}", column) for r in self.readers], "consensus": self.consensus}
            elif self.list_column:
                place = {"column": self.list_column, "contains": column, "separator": self.separator}
            else:
                place = {"column": column}
            words = name.replace("_", " ")
            labels[name] = Label(kind="binary", classes=[f"no {words}", words], blank=self.blank, **same, **place)
        return labels

    @model_validator(mode="after")
    def _consistent(self):
        if self.readers and self.list_column:
            raise ValueError("readers and list_column exclude each other")
        if self.readers and not all("{}" in reader for reader in self.readers):
            raise ValueError('every reader\'s column holds {} where the finding stands, as in "R1:{}"')
        return self


class TableFormat(Strict):
    """How a label table is written, where its name does not say it."""

    separator: Literal["comma", "semicolon", "tab", "blanks"] | None = Field(
        None, description="null: tab in .tsv and .tab, else comma"
    )
    skip_rows: int = Field(0, ge=0, description="lines before the header, or before the data if `header` is given")
    header: list[str] | None = Field(None, description="column names of a table that has none")


class JoinedTable(TableFormat):
    """A second table with further columns of the same rows."""

    table: str = Field(description="file below the dataset's root, or a pattern that one file fits")
    key: str | None = Field(None, description="its column that holds the same as labels.key; null: the same name")


class Labels(Strict):
    """Where labels stand and how their rows find their images."""

    table: str | list[str] | None = Field(
        None,
        description="CSV or TSV below the dataset's root, or a pattern that one file fits; several are put below each "
        "other; null: the reader supplies labels, or `extract` takes them from paths",
    )
    format: TableFormat = TableFormat()
    more_tables: list[JoinedTable] = Field([], description="tables with further columns, joined by key")
    lists: dict[str, dict[str, str]] = Field(
        {}, description="new column -> {value: text file of keys, one per line}: official split lists"
    )
    extract: dict[str, str] = Field(
        {},
        description="column -> regular expression that is searched in it; its named groups become columns. `path` "
        "without a table: the images' paths below the root, so that folders and file names give labels and patients",
    )
    recode: dict[str, dict[str, str]] = Field({}, description="column -> {raw value: what it is read as}")
    normalise: dict[str, str] = Field(
        {}, description="regular expression -> replacement, on keys of both sides before they are compared, in order"
    )
    join: Literal["sop_uid", "series_uid", "patient_id", "path", "index"] = Field(
        "path", description="what of an image is matched with the table's key"
    )
    key: str | None = Field(None, description="the table's column that is matched; null: the same name as `join`")
    columns: dict[str, Label] = Field({}, description="labels that tasks may use")
    multilabel: dict[Name, Findings] = Field(
        {}, description="groups of findings; each finding is added to `columns` as a binary label"
    )

    @model_validator(mode="after")
    def _expressions(self):
        for expression in [*self.extract.values(), *self.normalise]:
            try:
                compiled = re.compile(expression)
            except re.error as error:
                raise ValueError(f"'{expression}' is no regular expression: {error}") from None
            if expression in self.extract.values() and not compiled.groupindex:
                raise ValueError(f"extract: '{expression}' names no group; write (?P<column>...)")
        return self

    @model_validator(mode="after")
    def _findings_are_labels(self):
        added = {}
        for group, findings in self.multilabel.items():
            for name, label in findings.as_labels().items():
                if self.columns.get(name, label) != label or name in added:
                    raise ValueError(f"multilabel.{group}: '{name}' is a label of that name already; choose another")
                added[name] = label
        # Frozen against change after the check; this is part of it.
        object.__setattr__(self, "columns", {**self.columns, **added})
        if self.table is None and (self.more_tables or self.lists):
            raise ValueError("more_tables and lists add columns to a table, but `table` is null")
        return self


class Masks(Strict):
    """Masks beside the images; those of lesions are used for the pointing game."""

    table_column: str | None = Field(
        None, description="label-table column with the NIfTI file of the series, below the root"
    )
    file: str | None = Field(
        None, description="the file below the root, with label-table columns in braces: labelsTr/{case}.nii.gz"
    )
    classes: dict[str, int] = Field({}, description="what the mask's values mean: name -> value")

    @model_validator(mode="after")
    def _one_of_both(self):
        if (self.table_column is None) == (self.file is None):
            raise ValueError("say where masks are with either table_column or file")
        return self

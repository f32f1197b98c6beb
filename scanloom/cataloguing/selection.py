"""Which series a study uses: SQL conditions over what their headers say; what they remove is removed with a reason.

A condition is one boolean SQL expression in DuckDB's dialect over COLUMNS, and over the label table's columns as
`labels."Frontal/Lateral"`: `modality = 'CT' AND slice_thickness_mm <= 5 AND series_description NOT ILIKE '%BONE%'`.
Window functions compare series with each other (`n_images = max(n_images) OVER (PARTITION BY patient_id)`).
As in every SQL WHERE, a condition on an unknown value (NULL) is neither true nor false: `where` keeps what is true,
`exclude` removes what is true. Unknown numbers are NULL, unknown text is ''.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache

import pandas as pd

from scanloom.plugins import suggestion

TEXT, WHOLE, NUMBER, BOOLEAN = "VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN"

# Columns that conditions can use: type and meaning. Of a series' images the first one speaks, unless said otherwise.
COLUMNS = {
    "modality": (TEXT, "CT, MR, DX, ...; a dataset file's `modality` where the format has none"),
    "body_part": (TEXT, "BodyPartExamined"),
    "series_description": (TEXT, "free text, as typed at the scanner"),
    "image_type": (TEXT, "ImageType, parts joined by backslashes: ORIGINAL\\PRIMARY\\AXIAL"),
    "view_position": (TEXT, "PA, AP, LL, MLO, ..."),
    "laterality": (TEXT, "R, L, B or ''"),
    "plane": (TEXT, "axial, coronal or sagittal, whichever is nearest; '' where slices have no orientation"),
    "kernel": (TEXT, "ConvolutionKernel"),
    "contrast_agent": (BOOLEAN, "a contrast agent is named in any image"),
    "manufacturer": (TEXT, "of the scanner"),
    "scanner_model": (TEXT, "of the scanner"),
    "site": (TEXT, "as in the catalogue: the dataset file's `site`, else the pseudonym of the institution"),
    "patient_sex": (TEXT, "M, F, O or ''"),
    "patient_age_years": (NUMBER, "age at the examination; 90 stands for everything above 89"),
    "path": (TEXT, "the first file's path below the root; private"),
    "n_files": (WHOLE, "files of the series"),
    "n_images": (WHOLE, "images of the series; frames and slices count each"),
    "rows": (WHOLE, "pixels"),
    "columns": (WHOLE, "pixels"),
    "samples": (WHOLE, "1: grey, 3: colour"),
    "bits_stored": (WHOLE, "bits per stored value"),
    "signed": (BOOLEAN, "stored values may be negative"),
    "photometric": (TEXT, "photometric interpretation"),
    "transfer_syntax": (TEXT, "how pixels are stored"),
    "slice_thickness_mm": (NUMBER, "SliceThickness"),
    "spacing_z_mm": (NUMBER, "distance of neighbouring slices"),
    "spacing_y_mm": (NUMBER, "pixel distance"),
    "spacing_x_mm": (NUMBER, "pixel distance"),
    "tilt_deg": (NUMBER, "gantry tilt, measured from the slices' places"),
    "n_missing": (WHOLE, "slices missing from the stack"),
    "rescale_slope": (NUMBER, ""),
    "rescale_intercept": (NUMBER, ""),
    "rescale_type": (TEXT, "RescaleType, what rescaled values are: HU, MGML, ..."),
    "kvp": (NUMBER, "tube voltage in kV"),
    "tube_current_ma": (NUMBER, "tube current in mA"),
    "echo_time_ms": (NUMBER, ""),
    "repetition_time_ms": (NUMBER, ""),
    "trigger_time_ms": (NUMBER, ""),
    "b_value": (NUMBER, "diffusion weighting in s/mm2"),
    "echo_number": (NUMBER, ""),
    "temporal_position": (NUMBER, ""),
    "acquisition_number": (NUMBER, ""),
    "series_number": (WHOLE, ""),
    "burned_in": (TEXT, "BurnedInAnnotation: YES, NO or ''; YES where any image says so"),
    "overlay_planes": (WHOLE, "overlay planes; the most of any image"),
    "private_elements": (WHOLE, "private header elements; the most of any image"),
    "header_repaired": (BOOLEAN, "value representations of any image were lost and looked up"),
    "series_id": (TEXT, "pseudonym"),
    "study_id": (TEXT, "pseudonym; for PARTITION BY"),
    "patient_id": (TEXT, "pseudonym; for PARTITION BY"),
}
UNKNOWN = {TEXT: "", WHOLE: 0, NUMBER: float("nan"), BOOLEAN: False}
DTYPES = {TEXT: "str", WHOLE: "int64", NUMBER: "float64", BOOLEAN: "bool"}


class SelectionError(ValueError):
    """A condition that cannot be evaluated; the message quotes it and says what is wrong."""


def check(condition: str) -> None:
    """Raise SelectionError unless the condition is one boolean expression over known columns, the same at any time.

    Columns of the label table are taken to be there: which it has is known only where it lies.
    """
    for node in _nodes(condition):
        name = node.get("function_name") or (node.get("column_names") or [""])[-1]
        if name.lower() in _not_constant() and name not in COLUMNS:
            raise SelectionError(
                f"`{condition}`: {name} gives something else each time, so that nobody could repeat the study; "
                "compare with a fixed value"
            )
    # One series of which nothing is known, so that constants of a wrong type are found too.
    labels = pd.DataFrame({name: [None] for name in label_columns(condition)}, dtype="str", index=[0])
    series = {name: pd.Series([UNKNOWN[kind]], dtype=DTYPES[kind]) for name, (kind, _) in COLUMNS.items()}
    _answers(pd.DataFrame(series), labels, condition)


def label_columns(condition: str) -> list[str]:
    """Columns of the label table that the condition names as `labels.x`, in order. Raises SelectionError."""
    found = {}
    for node in _nodes(condition):
        names = node.get("column_names") or []
        if len(names) == 2 and names[0].lower() == "labels":
            found[names[1]] = node.get("query_location", 0)
    return sorted(found, key=found.get)


def _nodes(condition: str) -> Iterator[dict]:
    """All parts of the condition's syntax tree."""
    todo = [_parsed(condition)]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            yield node
            todo += node.values()
        elif isinstance(node, list):
            todo += node


@cache
def _not_constant() -> frozenset[str]:
    """DuckDB's functions that depend on chance, time or surroundings."""
    with _connection() as database:
        query = "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
        return frozenset(name for (name,) in database.execute(query).fetchall())


def removal_reasons(
    series: pd.DataFrame,
    where: str | None,
    exclude: Iterable[Mapping[str, str]] = (),
    labels: pd.DataFrame | None = None,
) -> pd.Series:
    """Why each series is removed, "" for those that stay; index as `series`.

    series: COLUMNS. exclude: {"where": condition, "reason": text}, of which the first that is true gives the reason;
    `where` comes before all of them, with the reason "does not fit: <where>". labels: the label table's row of each
    series (all text, empty where it has none), or None. Raises SelectionError.
    """
    reasons = pd.Series("", index=series.index, dtype="str")
    if where:
        keep = _answers(series, labels, where).fillna(False).astype(bool).to_numpy()
        reasons[~keep] = f"does not fit: {' '.join(where.split())}"
    for rule in exclude:
        out = _answers(series, labels, rule["where"]).fillna(False).astype(bool).to_numpy()
        reasons[out & (reasons == "").to_numpy()] = rule["reason"]
    return reasons


def _connection():
    """An empty database in memory that reaches no file, no network and no variable of this program."""
    import duckdb  # only where a condition is given: it costs 60 ms, and every job of a study reads the configuration

    return duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "threads": 1,
        },
    )


@cache
def _parsed(condition: str) -> dict:
    """DuckDB's syntax tree of the expression. Raises SelectionError unless it is one expression and nothing else."""
    if not isinstance(condition, str) or not condition.strip():
        raise SelectionError("a condition is an SQL expression, for example: modality = 'CT'")
    with _connection() as database:
        [[text]] = database.execute("SELECT json_serialize_sql(?)", [_select(condition)]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise SelectionError(f"`{condition}` is not an SQL expression: {_first_line(tree['error_message'])}")
    node = tree["statements"][0]["node"]
    alone = len(tree["statements"]) == 1 and len(node.get("select_list", [])) == 1
    if not alone or node["from_table"]["type"] != "EMPTY" or node["where_clause"] or node["modifiers"]:
        raise SelectionError(f"`{condition}` is more than one SQL expression; combine conditions with AND and OR")
    return node["select_list"][0]


def _select(condition: str, columns: str = "", tables: str = "") -> str:
    """The query; line breaks keep a comment in the condition from hiding the closing bracket."""
    return f"SELECT {columns}(\n{condition}\n) AS answer {tables}"


def _answers(series: pd.DataFrame, labels: pd.DataFrame | None, condition: str) -> pd.Series:
    """The condition's value for each series (True, False or missing), in their order. Raises SelectionError."""
    import duckdb

    asked = label_columns(condition)
    present = [] if labels is None else list(labels.columns)
    for name in asked:
        if name not in present:
            shown = ", ".join(present) or "there is no label table"
            raise SelectionError(
                f"`{condition}`: the label table has no column '{name}'. Columns: {shown}.{suggestion(name, present)}"
            )
    tables = "FROM series" + (" POSITIONAL JOIN labels" if asked else "")
    with _connection() as database:
        database.register("series", series[list(COLUMNS)].assign(_place=range(len(series))))
        if asked:
            database.register("labels", labels[asked].reset_index(drop=True))
        database.execute("SET lock_configuration = true")
        try:
            found = database.execute(_select(condition, "_place, ", tables))
            kind = str(found.description[-1][1])
            rows = found.fetchall()
        except duckdb.Error as error:
            raise SelectionError(f"`{condition}`: {_in_words(str(error))}") from None
    if kind != "BOOLEAN":
        raise SelectionError(f"`{condition}` is {kind}, not true or false; compare it with something")
    return pd.Series([answer for _, answer in sorted(rows)], dtype="boolean")


def _in_words(error: str) -> str:
    """DuckDB's message as one line; for an unknown column the name that was probably meant."""
    unknown = re.search(r'column "?([^"\s!]+)"? not found', error)
    if unknown:
        name = unknown.group(1)
        return f"no column '{name}'.{suggestion(name, list(COLUMNS))} Columns: {', '.join(COLUMNS)}"
    if "GROUP BY" in error:
        return "an aggregate answers for all series together; use `OVER ()` or `OVER (PARTITION BY patient_id)`"
    return _first_line(error)


def _first_line(error: str) -> str:
    return re.sub(r"^\w+ Error: ", "", error).split("\n")[0]

"""Conditions on series: what SQL says is true stays or goes, and every mistake has a clear message."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom.cataloguing import selection
from scanloom.cataloguing.selection import SelectionError, check, label_columns, removal_reasons
from scanloom.dataset_config import DatasetFile, DatasetUse, load_dataset
from scanloom.strict_models import ConfigError


def series(**columns):
    """A table of series: the given columns, everything else unknown."""
    count = len(next(iter(columns.values())))
    values = {}
    for name, (kind, _) in selection.COLUMNS.items():
        given_values = columns.get(name, [selection.UNKNOWN[kind]] * count)
        values[name] = pd.Series(given_values, dtype=selection.DTYPES[kind])
    return pd.DataFrame(values)


CT = series(
    modality=["CT", "CT", "MR", "CT"],
    slice_thickness_mm=[5.0, np.nan, 1.0, 0.6],
    series_description=["Plain", "BONE THIN", "", "thin bone"],
    patient_id=["a", "a", "b", "b"],
    n_images=[30, 30, 100, 200],
)


def test_where_keeps_what_is_true_and_names_itself_as_the_reason():
    reasons = removal_reasons(CT, "modality = 'CT'\n  AND slice_thickness_mm <= 5")
    gone = "does not fit: modality = 'CT' AND slice_thickness_mm <= 5"
    # The second series' thickness is unknown: NULL <= 5 is not true.
    assert reasons.tolist() == ["", gone, gone, ""]


def test_exclusions_give_their_own_reasons_the_first_that_is_true():
    rules = [
        {"where": "series_description ILIKE '%bone%'", "reason": "bone kernel"},
        {"where": "n_images < 50", "reason": "short"},
        {"where": "slice_thickness_mm > 3", "reason": "thick"},
    ]
    assert removal_reasons(CT, None, rules).tolist() == ["short", "bone kernel", "", "bone kernel"]
    assert removal_reasons(CT, "modality = 'MR'", rules)[2] == ""


def test_series_can_be_compared_with_each_other():
    reasons = removal_reasons(CT, "n_images = max(n_images) OVER (PARTITION BY patient_id)")
    assert [reason == "" for reason in reasons] == [True, True, False, True]


def test_order_and_index_of_the_table_do_not_matter():
    shuffled = CT.sample(frac=1, random_state=1)
    condition = "row_number() OVER (PARTITION BY patient_id ORDER BY n_images DESC, slice_thickness_mm) = 1"
    expected = removal_reasons(CT, condition)
    pd.testing.assert_series_equal(removal_reasons(shuffled, condition).sort_index(), expected)


def test_columns_of_the_label_table_are_asked_by_their_name():
    condition = "labels.\"Frontal/Lateral\" = 'Frontal' AND modality = 'CT'"
    assert label_columns(condition) == ["Frontal/Lateral"]
    labels = pd.DataFrame({"other": list("wxyz"), "Frontal/Lateral": ["Frontal", "Lateral", "Frontal", None]})
    reasons = removal_reasons(CT, condition, labels=labels)
    assert [reason == "" for reason in reasons] == [True, False, False, False]
    with pytest.raises(SelectionError, match=r"no column 'Frontal/Lateral'. Columns: view"):
        removal_reasons(CT, condition, labels=labels[["other"]].rename(columns={"other": "view"}))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 10), st.just(float("nan"))), min_size=1, max_size=20), st.floats(0, 10))
def test_a_threshold_agrees_with_numpy(values, limit):
    table = series(slice_thickness_mm=values)
    kept = (removal_reasons(table, f"slice_thickness_mm <= {limit!r}::DOUBLE") == "").to_numpy()
    np.testing.assert_array_equal(kept, np.array(values) <= limit)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("slice_thicknes_mm < 5", "no column 'slice_thicknes_mm'. Did you mean 'slice_thickness_mm'?"),
        ("modality =", "is not an SQL expression"),
        ("", "a condition is an SQL expression"),
        ("modality", "is VARCHAR, not true or false"),
        ("count(*) > 3", "an aggregate answers for all series together"),
        ("slice_thickness_mm > 'thin'", "Could not convert string 'thin'"),
        ("true), (false", "more than one SQL expression"),
        ("true) FROM series; DROP TABLE series; SELECT (true", "is not an SQL expression"),
        ("exists (SELECT 1 FROM read_csv('/etc/passwd'))", "disabled by configuration"),
        ("exists (SELECT 1 FROM glob('/*'))", "disabled by configuration"),
        ("exists (SELECT 1 FROM CT)", "does not exist"),
        ("getenv('HOME') = 'x'", "does not exist"),
        ("random() < 0.5", "random gives something else each time"),
        ("patient_age_years > 2026 - year(current_date)", "current_date gives something else each time"),
    ],
)
def test_what_is_wrong_with_a_condition_is_said_before_there_are_images(condition, message):
    with pytest.raises(SelectionError) as error:
        check(condition)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "condition",
    [
        "columns = 512 AND rows = 512 AND signed",
        "modality = 'CT' -- only CT",
        r"regexp_matches(path, '\bCT BONE\b')",
        "contrast_agent AND NOT header_repaired",
        "labels.age::INT > 60",
        "kernel IN ('STANDARD', 'B30f')",
    ],
)
def test_what_people_write_is_accepted(condition):
    check(condition)


def test_every_column_has_a_meaning_or_speaks_for_itself():
    check(" AND ".join(f"{name} IS NOT NULL" for name in selection.COLUMNS))


DATASET = """
name: scans
title: Scans
licence: none
source: {local_folder: {path: here}}
reader: {dicom: {}}
where: modality = 'CT'
exclude: [{where: n_images < 10, reason: short}]
labels: {columns: {}}
"""


def test_a_study_replaces_the_dataset_files_conditions(tmp_path):
    (tmp_path / "scans.yaml").write_text(DATASET)
    plain = {"steps": [{"resize": {"size_px": [8, 8]}}]}
    as_written = load_dataset("scans", tmp_path, DatasetUse(**plain))
    assert (as_written.where, as_written.exclude[0].reason) == ("modality = 'CT'", "short")
    # The configuration that jobs are given has all defaults written out.
    dumped = DatasetUse(**DatasetUse(**plain).model_dump())
    assert load_dataset("scans", tmp_path, dumped) == as_written
    other = load_dataset("scans", tmp_path, DatasetUse(**plain, where="modality = 'MR'", exclude=[]))
    assert (other.where, other.exclude) == ("modality = 'MR'", [])


def test_a_bad_condition_is_an_error_of_the_dataset_file(tmp_path):
    (tmp_path / "scans.yaml").write_text(DATASET.replace("n_images < 10", "n_image < 10"))
    with pytest.raises(ConfigError, match=r"exclude.0.where.*no column 'n_image'. Did you mean 'n_images'\?"):
        load_dataset("scans", tmp_path)
    assert "where" in DatasetFile.model_fields

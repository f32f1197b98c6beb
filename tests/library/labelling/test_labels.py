import numpy as np
import pandas as pd
import pytest

from scanloom.labelling import label_classes, label_tables, labels
from scanloom.labelling.label_config import Labels
from scanloom.labelling.label_tables import LabelError

BLEED = {"bleed": {"classes": ["no", "yes"], "values": None}}
CATALOGUE = pd.DataFrame(
    {"series_id": ["s1", "s2", ""], "verdict": ["used", "used", "excluded"], "site": ["A", "B", "C"]}
)


@pytest.fixture
def rows():
    """Two series of two slices; file names unique, in two folders."""
    return pd.DataFrame(
        {
            "series_id": ["s1", "s1", "s2", "s2"],
            "patient_id": ["p1", "p1", "p2", "p2"],
            "slice_index": [0, 1, 0, 1],
            "path": ["x/a.png", "x/b.png", "y/c.png", "y/d.png"],
            "frame": [0, 1, 2, 3],
            "sop_uid": ["1.1", "1.2", "2.1", "2.2"],
            "series_uid": ["1", "1", "2", "2"],
            "raw_patient": ["Doe", "Doe", "Roe", "Roe"],
        }
    )


def table(key, keys, bleed):
    return pd.DataFrame({key: keys, "bleed": bleed}, dtype="str")


@pytest.mark.parametrize(
    ("join", "keys", "values", "expected"),
    [
        ("sop_uid", ["2.2", "1.1"], ["1", "0"], [0, np.nan, np.nan, 1]),
        ("series_uid", ["2", "1"], ["yes", "no"], [0, 0, 1, 1]),
        ("patient_id", ["Doe"], ["1"], [1, 1, np.nan, np.nan]),
        ("index", ["3", "0"], ["1.0", "0"], [0, np.nan, np.nan, 1]),
        ("path", ["x/a.png", "y/c"], ["1", "0"], [1, np.nan, 0, np.nan]),
        ("path", ["a.png", "d"], ["1", ""], [1, np.nan, np.nan, np.nan]),
    ],
)
def test_labels_find_their_images(rows, join, keys, values, expected):
    found = labels.image_table(rows, CATALOGUE, table("k", keys, values), BLEED, join, "k")
    np.testing.assert_array_equal(found["bleed"], expected)
    assert found["item_id"].tolist() == ["s1-0000", "s1-0001", "s2-0000", "s2-0001"]
    assert found["site"].tolist() == ["A", "A", "B", "B"]
    assert not found["has_mask"].any()


def test_a_packed_nifti_file_is_named_by_its_case(rows):
    rows = rows.assign(path=["in/c1.nii.gz", "in/c2.nii.gz", "in/c3.tar.png", "in/.hidden"])
    found = labels.match_rows(rows, table("k", ["c2", "c3.tar", ".hidden", "in/c1"], ["1"] * 4), "path", "k")
    assert found.tolist() == [3, 0, 1, 2]


def test_labels_of_a_reader_are_matched_within_their_file(rows):
    rows = rows.assign(path=["a.npz", "a.npz", "b.npz", "b.npz"], frame=[0, 1, 0, 1])
    given = pd.DataFrame({"index": ["0", "1", "0"], "path": ["a.npz", "b.npz", "b.npz"], "bleed": ["0", "1", "0"]})
    found = labels.image_table(rows, CATALOGUE, given, BLEED, "index")
    np.testing.assert_array_equal(found["bleed"], [0, np.nan, 0, 1])


def test_raw_values_are_mapped(rows):
    columns = {"bleed": {"classes": ["benign", "malignant"], "values": {"nv": 0, "mel": 1, "bcc": 1}}}
    found = labels.image_table(
        rows, CATALOGUE, table("k", rows["sop_uid"], ["mel", "nv", "bcc", ""]), columns, "sop_uid", "k"
    )
    np.testing.assert_array_equal(found["bleed"], [1, 0, 1, np.nan])


def test_an_unknown_value_is_an_error_that_says_what_to_do(rows):
    with pytest.raises(
        LabelError, match=r"label column 'bleed': 'maybe' is no class of \['no', 'yes'\]; map raw values"
    ):
        labels.image_table(rows, CATALOGUE, table("k", rows["sop_uid"], ["maybe", "0", "1", ""]), BLEED, "sop_uid", "k")
    with pytest.raises(LabelError, match="'2' is no class"):
        label_classes.class_indices(pd.Series(["2"]), "bleed", ["no", "yes"], None)


def test_an_absent_column_is_an_error_with_a_suggestion(rows):
    given = table("k", rows["sop_uid"], ["0"] * 4).rename(columns={"bleed": "bleeds"})
    with pytest.raises(LabelError, match=r"no column 'bleed'. Columns: k, bleeds. Did you mean 'bleeds'\?"):
        labels.image_table(rows, CATALOGUE, given, BLEED, "sop_uid", "k")


def test_no_match_shows_the_form_of_keys_and_no_key(rows):
    with pytest.raises(LabelError) as error:
        labels.image_table(rows, CATALOGUE, table("k", ["QX-77"], ["0"]), BLEED, "patient_id", "k")
    message = str(error.value)
    assert "A1a2" in message
    assert "A2-92" in message
    assert not any(secret in message for secret in ("Doe", "Roe", "QX", "77"))


def test_rows_that_contradict_each_other_are_an_error(rows):
    given = table("k", ["1.1", "1.1", "2.1"], ["0", "1", "1"])
    with pytest.raises(LabelError, match="data rows 1 and 2; 1 such values"):
        labels.image_table(rows, CATALOGUE, given, BLEED, "sop_uid", "k")
    same = table("k", ["1.1", "1.1"], ["1", "1"]).assign(reader=["R1", "R2"])
    found = labels.image_table(rows, CATALOGUE, same, BLEED, "sop_uid", "k")
    assert found["bleed"][0] == 1


def test_file_names_that_stand_for_two_files_are_an_error(rows):
    rows = rows.assign(path=["x/a.png", "x/b.png", "y/a.png", "y/d.png"])
    with pytest.raises(LabelError, match="2 image files share such a name"):
        labels.image_table(rows, CATALOGUE, table("k", ["a.png"], ["1"]), BLEED, "path", "k")
    found = labels.image_table(rows, CATALOGUE, table("k", ["x/a.png"], ["1"]), BLEED, "path", "k")
    np.testing.assert_array_equal(found["bleed"], [1, np.nan, np.nan, np.nan])


def test_masks_and_official_splits_come_along(rows):
    given = table("k", ["1", "2"], ["1", "0"]).assign(mask=["m/1.nii.gz", ""], fold=["train", "test"])
    found = labels.image_table(
        rows, CATALOGUE, given, BLEED, "series_uid", "k", mask_column="mask", official_column="fold"
    )
    assert found["has_mask"].tolist() == [True, True, False, False]
    assert found["official_split"].tolist() == ["train", "train", "test", "test"]
    assert not found.astype(str).isin(["m/1.nii.gz", "Doe", "1.1"]).any(axis=None)
    masks = labels.mask_table(rows, given, "series_uid", "k", "mask")
    assert masks["item_id"].tolist() == ["s1-0000", "s1-0001"]
    assert set(masks["mask_path"]) == {"m/1.nii.gz"}


def test_no_label_table_means_no_labels(rows):
    found = labels.image_table(rows, CATALOGUE, None, {}, "path")
    assert len(found) == 4
    with pytest.raises(LabelError, match="there is no label table"):
        labels.image_table(rows, CATALOGUE, None, BLEED, "path")


def test_folders_and_file_names_give_labels_and_patients(rows, tmp_path):
    rows = rows.assign(path=["in/Normal/p1_a.png", "in/COVID/p1_b.png", "in/COVID/p2_c.png", "in/other/x.png"])
    given = Labels(
        extract={"path": "/(?P<folder>COVID|Normal)/(?P<patient>p[0-9]+)_"},
        recode={"folder": {"COVID": "yes", "Normal": "no"}},
        columns={"bleed": {"kind": "binary", "classes": ["no", "yes"], "column": "folder"}},
    ).model_dump()
    read = label_tables.read_labels(tmp_path, given, [*rows["path"], "in/readme.txt"])
    assert read["patient"].tolist() == ["p1", "p1", "p2"]
    found = labels.image_table(rows, CATALOGUE, read, given["columns"], "path")
    np.testing.assert_array_equal(found["bleed"], [0, 1, 1, np.nan])
    with pytest.raises(LabelError, match=r"fits none of 1 values of 'path', which have the form a1/a1\.a3"):
        label_tables.read_labels(tmp_path, given, ["q/z.png"])


def test_the_mean_of_readers_leaves_their_share_beside_the_label(rows):
    reads = pd.DataFrame({"k": ["Doe", "Roe"], "r1": ["1", "0"], "r2": ["1", "1"], "r3": ["0", "0"]}, dtype="str")
    given = {"bleed": {"classes": ["no", "yes"], "readers": ["r1", "r2", "r3"], "consensus": "mean"}}
    found = labels.image_table(rows, CATALOGUE, reads, given, "patient_id", "k")
    np.testing.assert_array_equal(found["bleed"], [1, 1, 0, 0])
    np.testing.assert_allclose(found["bleed_share"], [2 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_findings_are_absent_present_or_unknown_each_for_itself(rows):
    findings = {"edema": "Edema", "mass_left": "Mass"}
    given = Labels(
        table="t.csv", key="k", multilabel={"findings": {"columns": findings, "uncertain": ["-1"], "blank": None}}
    ).model_dump()
    cells = pd.DataFrame({"k": ["2", "1"], "Edema": ["1", "-1"], "Mass": ["", "0"]}, dtype="str")
    found = labels.image_table(rows, CATALOGUE, cells, given["columns"], "series_uid", "k")
    np.testing.assert_array_equal(found["edema"], [np.nan, np.nan, 1, 1])
    np.testing.assert_array_equal(found["mass_left"], [0, 0, np.nan, np.nan])
    assert given["columns"]["mass_left"]["classes"] == ["no mass left", "mass left"]


def test_keys_of_both_sides_are_normalised(rows):
    given = table("k", ["Ö-Doe", "roe"], ["1", "0"])
    rules = {"(?i)^.*-": "", "(?i)roe": "Roe"}
    found = labels.image_table(rows, CATALOGUE, given, BLEED, "patient_id", "k", normalise=rules)
    np.testing.assert_array_equal(found["bleed"], [1, 1, 0, 0])
    with pytest.raises(LabelError, match="data rows 1 and 2"):
        labels.match_rows(rows, table("k", ["Doe", "x-Doe"], ["1", "0"]), "patient_id", "k", rules)

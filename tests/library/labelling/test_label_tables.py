"""One table of text out of label tables, lists, and file and folder names."""

import numpy as np
import pytest

from scanloom.labelling import label_classes, label_tables
from scanloom.labelling.label_config import Labels, Masks
from scanloom.labelling.label_tables import LabelError


def spec(**keys):
    """The key `labels` of a dataset file, with its defaults."""
    return Labels(**keys).model_dump()


def test_a_table_file_is_read_as_text(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfid, label \n007, 1\n008,NA\n")
    found = label_tables.read_label_table(tmp_path / "t.csv")
    assert found.to_dict("list") == {"id": ["007", "008"], "label": ["1", "NA"]}
    (tmp_path / "t.tsv").write_text("id\tlabel\n007\t1\n")
    assert label_tables.read_label_table(tmp_path / "t.tsv")["label"].tolist() == ["1"]
    assert np.isnan(label_classes.class_indices(found["label"], "label", ["a", "b"], None)[1])
    with pytest.raises(LabelError, match=r"label table absent.csv not found"):
        label_tables.read_label_table(tmp_path / "absent.csv")


def test_tables_are_stacked_and_joined(tmp_path):
    (tmp_path / "train.csv").write_text("id,dx\na-1,mel\nb-2,nv\n")
    (tmp_path / "valid.csv").write_text("id,dx\nc-3,nv\n")
    (tmp_path / "who.txt").write_text("3 lines follow\nA1  p1\nB2  p2\n")
    more = {"table": "who.txt", "key": "image", "separator": "blanks", "skip_rows": 1, "header": ["image", "person"]}
    given = spec(
        table=["train.csv", "valid.csv"], key="id", more_tables=[more], normalise={"-": "", "^a": "A", "^b": "B"}
    )
    found = label_tables.read_labels(tmp_path, given)
    assert found.to_dict("list") == {
        "id": ["a-1", "b-2", "c-3"],
        "dx": ["mel", "nv", "nv"],
        "person": ["p1", "p2", ""],
    }
    assert label_tables.label_files(tmp_path, given) == ["train.csv", "valid.csv", "who.txt"]


def test_a_table_is_found_by_pattern_if_one_file_fits(tmp_path):
    (tmp_path / "HAM_metadata.tab").write_text("id\tdx\na\tmel\n")
    given = spec(table="*metadata*", key="id")
    assert label_tables.read_labels(tmp_path, given)["dx"].tolist() == ["mel"]
    (tmp_path / "old_metadata.csv").write_text("id\n")
    with pytest.raises(LabelError, match="fits 2 files"):
        label_tables.read_labels(tmp_path, given)
    with pytest.raises(LabelError, match=r"label table absent\.csv not found"):
        label_tables.read_labels(tmp_path, spec(table="absent.csv"))


def test_a_table_of_another_form_is_an_error_and_not_cut(tmp_path):
    (tmp_path / "t.csv").write_text("id,dx\na,mel,extra\n")
    with pytest.raises(LabelError, match="more cells than its header"):
        label_tables.read_labels(tmp_path, spec(table="t.csv"))
    (tmp_path / "t.csv").write_text("id,dx\na,mel\nb,nv,1,2\n")
    with pytest.raises(LabelError, match="cannot be read as text separated by comma"):
        label_tables.read_labels(tmp_path, spec(table="t.csv"))


def test_semicolons_are_hinted_at(tmp_path):
    (tmp_path / "t.csv").write_text("id;dx\na;mel\n")
    with pytest.raises(LabelError, match=r"t.csv has one column .* set labels.format.separator: semicolon"):
        label_tables.read_labels(tmp_path, spec(table="t.csv"))


def test_lists_of_files_give_the_official_split(tmp_path):
    (tmp_path / "t.csv").write_text("Image Index,x\n1.png,0\n2.png,0\n3.png,0\n")
    (tmp_path / "train.txt").write_text("1.png\r\n2.png\r\n")
    (tmp_path / "test.txt").write_text("3.png")
    lists = {"split": {"train": "train.txt", "test": "test.txt"}}
    given = spec(table="t.csv", key="Image Index", lists=lists)
    assert label_tables.read_labels(tmp_path, given)["split"].tolist() == ["train", "train", "test"]
    (tmp_path / "test.txt").write_text("3.png\n1.png\n")
    with pytest.raises(LabelError, match=r"test.txt: 1 of its keys stand in another list too"):
        label_tables.read_labels(tmp_path, given)


def test_columns_are_extracted_from_a_table_too(tmp_path):
    (tmp_path / "t.csv").write_text("Path\nS/train/patient01/v.jpg\nodd\n")
    given = spec(table="t.csv", key="Path", extract={"Path": "(?P<split>train|valid)/(?P<patient>patient[0-9]+)"})
    found = label_tables.read_labels(tmp_path, given)
    assert found[["split", "patient"]].to_numpy().tolist() == [["train", "patient01"], ["", ""]]


def test_masks_are_found_by_their_name(tmp_path):
    (tmp_path / "labelsTr").mkdir()
    (tmp_path / "labelsTr" / "a.nii.gz").touch()
    given = spec(extract={"path": "images(Tr|Ts)/(?P<case>.+)[.]nii"})
    masks = Masks(file="labelsTr/{case}.nii.gz").model_dump()
    found = label_tables.read_labels(tmp_path, given, ["imagesTr/a.nii.gz", "imagesTs/b.nii.gz"], masks)
    assert found[label_tables.mask_column(masks)].tolist() == ["labelsTr/a.nii.gz", ""]
    assert label_tables.mask_column(Masks(table_column="m").model_dump()) == "m"
    assert label_tables.mask_column(None) is None


def test_a_template_of_masks_that_fits_no_file_is_an_error(tmp_path):
    given = spec(extract={"path": "images(Tr|Ts)/(?P<case>.+)[.]nii"})
    masks = Masks(file="labelzTr/{case}.nii.gz").model_dump()
    with pytest.raises(LabelError, match=r"masks.file: 'labelzTr/\{case\}.nii.gz', filled in for 2 rows"):
        label_tables.read_labels(tmp_path, given, ["imagesTr/a.nii.gz", "imagesTs/b.nii.gz"], masks)


def test_without_table_and_expression_the_reader_is_asked(tmp_path):
    assert label_tables.read_labels(tmp_path, spec()) is None
    assert label_tables.label_files(tmp_path, spec()) == []

"""One message for a folder that is not as the data set's publisher packs it."""

import pytest

from scanloom.files.layout import layout_problem

LAYOUT = ["train.csv", "train/patient*", "valid/patient*"]
HOW = "Register,\n  download, unpack."


@pytest.fixture
def folder(tmp_path):
    for name in ("train/patient1/a.jpg", "valid/patient2/b.jpg", "train.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_as_published_is_no_problem(folder):
    assert layout_problem(folder, LAYOUT, HOW) is None
    assert layout_problem(folder, []) is None


def test_what_is_missing_there_and_to_do_is_said(folder):
    (folder / "train.csv").unlink()
    problem = layout_problem(folder, LAYOUT, HOW)
    assert "missing train.csv" in problem
    assert "there is train/patient*, valid/patient*" in problem
    assert "found 4 folders, 2 .jpg" in problem
    assert problem.endswith("Register, download, unpack.")


def test_a_near_miss_is_named(folder):
    (folder / "train.csv").rename(folder / "Train.csv")
    assert "similar: Train.csv (for train.csv)" in layout_problem(folder, LAYOUT)


def test_the_subfolder_that_fits_is_named(folder):
    above = folder.parent / "above"
    above.mkdir()
    folder.rename(above / "small")
    problem = layout_problem(above, LAYOUT, HOW)
    assert "all of it is in the subfolder 'small': give that folder as `path`" in problem
    assert "Register" not in problem


def test_names_that_may_be_a_patients_are_not_shown(tmp_path):
    for name in ("Zyx^Quentin/CT1.zyx-quentin-1950", "Quentin.Zyx", "a.b.NII.GZ", "scan.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    problem = layout_problem(tmp_path, LAYOUT)
    assert all(shown in problem for shown in ("2 other files", "1 folders", "1 .dcm", "1 .nii.gz"))
    assert "zyx" not in problem.lower()
    assert "quentin" not in problem.lower()


def test_an_empty_folder_is_said_to_hold_nothing(tmp_path):
    assert "found nothing" in layout_problem(tmp_path, LAYOUT)

"""`scanloom catalogue`: what it prints and writes, and what it keeps to itself."""

import json
import re

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from PIL import Image

from scanloom.__main__ import main
from scanloom.cataloguing.catalogue import build_catalogue
from scanloom.readers.dicom import Settings
from scanloom.sources import phantom


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small phantom cohort with its bad files."""
    return phantom.fetch(phantom.Settings(patients=4, matrix=32), tmp_path_factory.mktemp("phantom"), seed=3).root


def state(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def run(capsys, *arguments):
    code = main(["catalogue", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_it_prints_the_series_and_balanced_books_and_changes_nothing(folder, capsys):
    before = state(folder)
    code, out, _ = run(capsys, folder)
    assert code == 0
    assert state(folder) == before
    found, used, excluded = map(int, re.search(r"(\d+) files found = (\d+) used \+ (\d+) excluded", out).groups())
    assert found == used + excluded == sum(path.is_file() for path in folder.rglob("*"))


def test_identifiers_are_shown_only_where_asked(folder, capsys):
    series = build_catalogue("dicom", Settings(), folder, dataset="d", salt="pepper", chunks=1).series
    private = [*series.raw_patient, *series.series_uid, *series.path]
    _, out, err = run(capsys, folder, "--rows", 0)
    assert not [value for value in private if value in out + err]
    _, out, _ = run(capsys, folder, "--rows", 0, "--private", "--columns", "raw_patient,path")
    assert series.path[series.verdict == "used"].iloc[0] in out


def test_a_condition_chooses_and_the_rest_is_counted(folder, capsys):
    code, out, _ = run(capsys, folder, "--where", "plane = 'axial' AND n_images > 3")
    assert (code, "files found" in out) == (0, True)


def test_a_condition_that_nothing_fits_and_a_folder_of_other_files_are_told_as_any_other(folder, capsys, tmp_path):
    """The command is for looking: what is wrong with the files is the answer, not an error."""
    export = tmp_path / "excluded.csv"
    code, out, _ = run(capsys, folder, "--where", "modality = 'US'", "--excluded", "--export", export)
    assert code == 0
    assert "does not fit: modality = 'US'" in out
    assert "does not fit: modality = 'US'" in set(pd.read_csv(export).reason)
    code, out, _ = run(capsys, folder, "--where", "modality = 'US'")
    assert (code, "nothing to show" in out) == (0, True)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("no picture")
    code, out, err = run(capsys, tmp_path / "letters")
    assert (code, err) == (0, "")
    assert "1 files found = 0 used + 1 excluded" in out
    assert "not a DICOM file" in out


def test_files_of_other_formats_are_told_with_their_reader(capsys, tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "b.tif")
    for ending in ("nii", "nii.gz"):
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), tmp_path / f"c.{ending}")
    SimpleITK.WriteImage(SimpleITK.Image(2, 2, 2, SimpleITK.sitkInt16), str(tmp_path / "d.nrrd"))
    SimpleITK.WriteImage(SimpleITK.Image(2, 2, 2, SimpleITK.sitkInt16), str(tmp_path / "d.mha"))
    np.savez(tmp_path / "e.npz", train_images=np.zeros((1, 2, 2), np.uint8))
    (tmp_path / "letter.txt").write_text("no picture")
    _, out, _ = run(capsys, tmp_path)
    for reader, count in (
        ("image_files", "2 files"),
        ("nifti", "2 files"),
        ("volume_files", "2 files"),
        ("npz", "1 file"),
    ):
        assert f"for --reader {reader}: {count} of the excluded ones" in out
    _, out, _ = run(capsys, tmp_path, "--reader", "nifti")
    assert "for --reader nifti" not in out


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_the_table_is_exported(folder, capsys, tmp_path, kind):
    file = tmp_path / f"series.{kind}"
    assert run(capsys, folder, "--export", file)[0] == 0
    readers = {
        "csv": pd.read_csv,
        "json": lambda path: pd.DataFrame(json.loads(path.read_text())),
        "parquet": pd.read_parquet,
    }
    table = readers[kind](file)
    assert table.series_id.is_unique
    assert {"modality", "n_images", "phi_risk"} <= set(table)
    assert "path" not in table


def test_excluded_files_are_listed_with_their_reasons(folder, capsys, tmp_path):
    file = tmp_path / "excluded.csv"
    run(capsys, folder, "--excluded", "--private", "--export", file)
    table = pd.read_csv(file)
    assert list(table) == ["reason", "detail", "path"]
    assert "not a DICOM file" in set(table.reason)


def test_pseudonyms_are_those_of_a_study_where_its_salt_is_given(folder, capsys, tmp_path):
    (tmp_path / "salt.txt").write_text("pepper\n")
    run(capsys, folder, "--salt-file", tmp_path / "salt.txt", "--dataset", "phantom", "--export", tmp_path / "a.csv")
    expected = build_catalogue("dicom", Settings(), folder, dataset="phantom", salt="pepper", chunks=1).catalogue
    assert set(pd.read_csv(tmp_path / "a.csv").series_id) == set(expected.series_id[expected.verdict == "used"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "modalty = 'CT'"], "Did you mean 'modality'?"),
        (["--columns", "modalty"], "Did you mean 'modality'?"),
        (["--columns", "path"], "may name a patient; it is shown with --private"),
        (["--export", "table.xlsx"], "expected a name ending in .csv, .json, .parquet"),
        (["--reader", "dicmo"], "Did you mean 'dicom'?"),
        (["--setting", "min_slice=3"], "Did you mean 'min_slices'?"),
        (["--setting", "min_slices"], "expected KEY=VALUE"),
    ],
)
def test_mistakes_are_one_line(folder, capsys, arguments, message):
    code, _, err = run(capsys, folder, *arguments)
    assert code == 1
    assert message in err
    assert err.count("\n") == 1


def test_a_place_that_is_no_folder_and_a_file_that_is_not_there_are_named(folder, capsys, tmp_path):
    assert (
        run(capsys, tmp_path / "none")[2]
        == f"scanloom catalogue: {tmp_path}/none is not there; expected a folder of images\n"
    )
    (tmp_path / "file").touch()
    assert "file is a file; expected a folder of images" in run(capsys, tmp_path / "file")[2]
    assert run(capsys, folder, "--salt-file", "/nope")[2] == "scanloom catalogue: /nope: No such file or directory\n"


def test_numbers_that_make_no_sense_are_refused(folder, capsys):
    for option in ("--workers=0", "--rows=-1", "--rows=many"):
        with pytest.raises(SystemExit):
            main(["catalogue", str(folder), option])
        assert "expected a whole number from" in capsys.readouterr().err


def test_nothing_is_written_into_the_folder_of_images(folder, capsys):
    code, _, err = run(capsys, folder, "--export", folder / "table.csv")
    assert code == 1
    assert "never written to" in err


def test_columns_are_explained_without_a_folder(capsys):
    code, out, _ = run(capsys, "--list-columns")
    assert code == 0
    assert "series_description" in out

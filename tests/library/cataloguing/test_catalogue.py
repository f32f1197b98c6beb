"""The catalogue: balanced books, pseudonyms, groups, chunks."""

import re
import tarfile
import zipfile
from functools import partial

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scanloom import plugins
from scanloom.cataloguing.catalogue import balance_books, build_catalogue, declared_files, unexpected_counts
from scanloom.cataloguing.catalogue_columns import COLUMNS, SERIES_COLUMNS
from scanloom.cataloguing.catalogue_series import CatalogueError
from scanloom.cataloguing.selection import SelectionError
from scanloom.identity import chunk_of, pseudonym
from scanloom.labelling.label_config import Labels
from scanloom.labelling.label_tables import read_label_table, read_labels
from scanloom.sources import phantom

SALT = "pepper"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """(root, settings) of a small phantom cohort with its bad files."""
    settings = phantom.Settings(patients=6, matrix=64)
    return phantom.fetch(settings, tmp_path_factory.mktemp("phantom"), seed=3).root, settings


def build_phantom(root, **changes):
    labels = read_label_table(root / "labels.csv")
    options = {
        "dataset": "phantom",
        "salt": SALT,
        "chunks": 4,
        "modality": "CT",
        "site": "site",
        "labels": labels,
        "join": "sop_uid",
        "declared": declared_files(["labels.csv"], labels, "mask"),
    }
    return build_catalogue("dicom", plugins.settings("readers", "dicom", {}), root, **(options | changes))


@pytest.fixture(scope="module")
def built(cohort):
    return build_phantom(cohort[0])


def pictures(root, names, **options):
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, np.uint8)).save(root / name)
    options = {"dataset": "pictures", "salt": SALT, "chunks": 3, "group": None} | options
    return build_catalogue("image_files", plugins.settings("readers", "image_files", {}), root, **options)


def test_every_file_is_used_or_excluded_with_the_true_reason(cohort, built):
    root, settings = cohort
    on_disk = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    assert built.files.path.tolist() == on_disk
    assert built.books["found"] == built.books["used"] + built.books["excluded"] == len(on_disk)
    assert sum(built.books["reasons"].values()) == built.books["excluded"]
    excluded = built.files[built.files.verdict == "excluded"].set_index("path").reason
    declared = excluded[excluded == "not an image (declared)"]
    assert excluded.drop(declared.index).to_dict() == phantom.expected_exclusions(settings)


def test_catalogue_has_one_row_per_used_series_and_per_excluded_file(built):
    used = built.catalogue[built.catalogue.verdict == "used"]
    out = built.catalogue[built.catalogue.verdict == "excluded"]
    assert built.catalogue.columns.tolist() == list(COLUMNS)
    assert used.series_id.is_unique
    assert used.n_files.sum() == built.books["used"]
    assert (out.n_files == 1).all()
    assert (out.chunk == -1).all()
    assert used.patient_id.nunique() == 6
    assert set(used.site) == {"A", "B"}


def test_chunk_rows_hold_every_used_image_once_in_stack_order(built):
    used = built.catalogue[built.catalogue.verdict == "used"].set_index("series_id")
    rows = pd.concat(built.chunk_rows.values())
    assert sorted(built.chunk_rows) == [0, 1, 2, 3]
    assert len(rows) == used.n_images.sum()
    assert not rows.duplicated(["path", "frame"]).any()
    for series_id, one in rows.groupby("series_id"):
        assert one.slice_index.tolist() == list(range(len(one)))
        assert one.position_mm.is_monotonic_increasing
        assert series_id in set(built.chunk_rows[chunk_of(series_id, 4)].series_id)
        assert used.chunk[series_id] == chunk_of(series_id, 4)


def test_patients_are_pseudonyms_of_dicoms_patient(built):
    rows = pd.concat(built.chunk_rows.values())
    expected = [pseudonym(SALT, "patient", "phantom", raw) for raw in rows.raw_patient]
    assert rows.patient_id.tolist() == expected


def test_nothing_private_is_in_the_catalogue(built):
    text = built.catalogue.to_json()
    rows = pd.concat(built.chunk_rows.values())
    private = {*rows.raw_patient, *rows.sop_uid, *rows.series_uid, *built.files.path}
    assert len(private) > 20
    assert [value for value in private if value in text] == []
    assert not re.search(r"\b(19|20)\d\d[01]\d[0-3]\d\b", text)


def test_the_catalogue_survives_parquet(built, tmp_path):
    built.catalogue.to_parquet(tmp_path / "c.parquet")
    again = pd.read_parquet(tmp_path / "c.parquet")
    assert again.file_ids.map(list).tolist() == built.catalogue.file_ids.tolist()
    np.testing.assert_array_equal(np.stack(again.spacing_mm), np.stack(built.catalogue.spacing_mm))


def test_another_run_with_more_processes_gives_the_same_tables(cohort, built):
    again = build_phantom(cohort[0], workers=2)
    pd.testing.assert_frame_equal(again.catalogue, built.catalogue)
    pd.testing.assert_frame_equal(again.files, built.files)


def test_one_new_picture_changes_one_chunk_only(tmp_path):
    names = [f"{number}.png" for number in range(12)]
    before = pictures(tmp_path, names).chunk_rows
    after = pictures(tmp_path, [*names, "new.png"]).chunk_rows
    changed = [chunk for chunk in before if not before[chunk].equals(after[chunk])]
    assert len(changed) == 1


def test_group_column_of_the_label_table_makes_the_patients(tmp_path):
    labels = pd.DataFrame({"image": ["a", "b", "c"], "lesion": ["L1", "L1", "L2"]}, dtype="str")
    built = pictures(tmp_path, ["a.png", "b.png", "c.png"], group="lesion", labels=labels, key="image")
    by_path = pd.concat(built.chunk_rows.values()).set_index("path").patient_id
    assert by_path["a.png"] == by_path["b.png"] == pseudonym(SALT, "patient", "pictures", "L1")
    assert by_path["c.png"] != by_path["a.png"]


def test_an_image_without_a_group_is_its_own_patient(tmp_path):
    labels = pd.DataFrame({"image": ["a", "b", "c"], "lesion": ["L1", "", ""]}, dtype="str")
    built = pictures(tmp_path, ["a.png", "b.png", "c.png", "d.png"], group="lesion", labels=labels, key="image")
    assert built.catalogue.patient_id.nunique() == 4


def test_group_null_makes_every_image_its_own_patient(tmp_path):
    assert pictures(tmp_path, ["a.png", "b.png"]).catalogue.patient_id.nunique() == 2


def test_a_series_of_two_groups_is_excluded_as_mixed_patients(cohort):
    labels = read_label_table(cohort[0] / "labels.csv")
    torn = labels.series_uid.iloc[0]
    labels["unit"] = labels.patient_id
    labels.loc[labels.index[labels.series_uid == torn][0], "unit"] = "somebody else"
    built = build_phantom(cohort[0], labels=labels, group="unit")
    slices = (labels.series_uid == torn).sum()
    assert built.books["reasons"]["mixed patients"] == slices


def test_absent_columns_are_errors_with_a_suggestion(tmp_path):
    labels = pd.DataFrame({"image": ["a"], "lesion_id": ["L1"]}, dtype="str")
    with pytest.raises(CatalogueError, match=r"group column 'lesion_di' is absent.*Did you mean 'lesion_id'"):
        pictures(tmp_path, ["a.png"], group="lesion_di", labels=labels, key="image")
    with pytest.raises(CatalogueError, match="group is patient_id, but the images name no patient"):
        pictures(tmp_path, ["a.png"], group="patient_id")
    with pytest.raises(CatalogueError, match="site column 'hospital' is absent"):
        pictures(tmp_path, ["a.png"], site="hospital")


def test_a_folder_without_usable_images_is_an_error_that_says_why(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    for reader in ("dicom", "image_files", "npz"):
        settings = plugins.settings("readers", reader, {})
        with pytest.raises(CatalogueError, match="none of 1 files is usable"):
            build_catalogue(reader, settings, tmp_path, dataset="d", salt=SALT, chunks=2, group=None)


def test_books_that_do_not_balance_are_refused(built):
    with pytest.raises(CatalogueError, match="do not balance"):
        balance_books(built.catalogue, built.files, built.books["found"] + 1)
    with pytest.raises(CatalogueError, match="catalogue lists"):
        balance_books(built.catalogue.iloc[1:], built.files, built.books["found"])


def test_published_counts_are_compared(built):
    assert unexpected_counts(built.catalogue, {"patients": 6}) == []
    assert unexpected_counts(built.catalogue, {"patients": 7}) == ["expected 7 patients, found 6"]


def test_institutions_appear_as_pseudonyms_only(cohort):
    built = build_phantom(cohort[0], site=None)
    used = built.catalogue[built.catalogue.verdict == "used"]
    assert used.site.nunique() == 2
    assert used.site.str.fullmatch("[0-9a-f]{16}").all()


# --- selection -----------------------------------------------------------------------------------


def test_what_conditions_remove_is_excluded_with_that_reason(cohort, built):
    thick = built.series.slice_thickness_mm.max()
    rules = [{"where": "path LIKE '%'", "reason": "everything else"}]
    with pytest.raises(CatalogueError, match="everything else"):
        build_phantom(cohort[0], exclude=rules)
    some = built.series.path[built.series.verdict == "used"].iloc[0]
    chosen = build_phantom(
        cohort[0], where=f"slice_thickness_mm <= {thick}", exclude=[rules[0] | {"where": f"path <> '{some}'"}]
    )
    used = chosen.catalogue[chosen.catalogue.verdict == "used"]
    assert len(used) == 1
    before = built.catalogue.set_index("series_id").n_files[used.series_id]
    assert chosen.books["used"] == used.n_files.item() == before.item()
    assert chosen.books["reasons"]["everything else"] == built.books["used"] - chosen.books["used"]
    # Faults that were found first keep their reasons.
    assert all(chosen.books["reasons"][reason] == count for reason, count in built.books["reasons"].items())


def test_conditions_on_the_label_table_choose_series(cohort, built):
    labels = read_label_table(cohort[0] / "labels.csv")
    chosen = build_phantom(cohort[0], where="labels.site = 'A'")
    patients = labels.patient_id[labels.site == "A"].map(lambda raw: pseudonym(SALT, "patient", "phantom", raw))
    used = chosen.catalogue[chosen.catalogue.verdict == "used"]
    assert set(used.patient_id) == set(patients) & set(built.catalogue.patient_id[built.catalogue.verdict == "used"])
    with pytest.raises(SelectionError, match="no column 'ward'"):
        build_phantom(cohort[0], where="labels.ward = '3'")


def test_the_private_table_has_one_row_per_series_with_all_that_conditions_can_ask(built):
    assert built.series.columns.tolist() == list(SERIES_COLUMNS)
    used = built.catalogue[built.catalogue.verdict == "used"]
    assert sorted(built.series.series_id[built.series.verdict == "used"]) == sorted(used.series_id)
    assert set(built.series.path) <= set(built.files.path)
    assert (built.series.plane[built.series.verdict == "used"] == "axial").all()


# --- archives ------------------------------------------------------------------------------------


def test_labels_that_stand_in_paths_reach_members_of_archives(tmp_path):
    """As MedNIST.zip, left as it was downloaded: a class is a folder in it."""
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
        for number, kind in enumerate(("Hand", "HeadCT")):
            Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / "a.png")
            archive.write(tmp_path / "a.png", f"{kind}/{number}.png")
    labels = Labels(extract={"path": "(?P<kind>Hand|HeadCT)/"}, columns={}, join="path").model_dump()
    built = build_catalogue(
        "image_files",
        plugins.settings("readers", "image_files", {}),
        root,
        **{"dataset": "pictures", "salt": SALT, "chunks": 1, "group": None, "where": "labels.kind = 'Hand'"},
        labels=partial(read_labels, root, labels),
        unpack_to=tmp_path / "private",
    )
    assert built.files[built.files.verdict == "used"].path.tolist() == ["pictures.zip/Hand/0.png"]
    assert built.labels.kind.tolist() == ["Hand", "HeadCT"]


def test_an_archive_counts_and_so_does_each_of_its_members(tmp_path):
    root, names = tmp_path / "root", ["a.png", "b.png", "notes.txt"]
    (root / "plain").mkdir(parents=True)
    Image.fromarray(np.full((4, 4), 9, np.uint8)).save(root / "plain/c.png")
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        archive.write(root / "plain/c.png", "deep/d.png")
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for number, name in enumerate(names[:2]):
            Image.fromarray(np.full((4, 4), number, np.uint8)).save(tmp_path / name)
            archive.write(tmp_path / name, f"set/{name}")
        archive.writestr("notes.txt", "hello")
        archive.write(inner, "more/inner.zip")
    with tarfile.open(root / "bad.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("../../escape.png")
        archive.addfile(member)
    settings = plugins.settings("readers", "image_files", {})
    options = {"dataset": "pictures", "salt": SALT, "chunks": 1, "group": None}
    built = build_catalogue("image_files", settings, root, **options, unpack_to=tmp_path / "private")
    assert built.files.set_index("path").reason.to_dict() == {
        "bad.tar.gz": "unsafe archive",
        "images.zip": "archive (opened)",
        "images.zip/more/inner.zip": "archive (opened)",
        "images.zip/more/inner.zip/deep/d.png": "",
        "images.zip/notes.txt": "not an image file",
        "images.zip/set/a.png": "",
        "images.zip/set/b.png": "",
        "plain/c.png": "",
    }
    assert built.books["found"] == 8
    assert sorted(path.name for path in root.rglob("*") if path.is_file()) == ["bad.tar.gz", "c.png", "images.zip"]
    assert not (tmp_path / "escape.png").exists()

    plugin, rows = plugins.load("readers", "image_files"), built.chunk_rows[0].set_index("path", drop=False)
    for path, level in (("images.zip/set/b.png", 1), ("images.zip/more/inner.zip/deep/d.png", 9), ("plain/c.png", 9)):
        assert (plugin.read_series(root, rows.loc[[path]], settings).values == level).all()

    # The second time nothing is unpacked again; what is no longer needed goes.
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "private").iterdir()}
    again = build_catalogue("image_files", settings, root, **options, unpack_to=tmp_path / "private")
    pd.testing.assert_frame_equal(again.catalogue, built.catalogue)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "private").iterdir()} == first
    (root / "images.zip").unlink()
    build_catalogue("image_files", settings, root, **options, unpack_to=tmp_path / "private")
    assert list((tmp_path / "private").iterdir()) == []


def test_the_identity_of_a_member_does_not_depend_on_where_it_was_unpacked(tmp_path):
    (tmp_path / "root").mkdir()
    with zipfile.ZipFile(tmp_path / "root/images.zip", "w") as archive:
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
        archive.write(tmp_path / "a.png", "a.png")
    settings = plugins.settings("readers", "image_files", {})
    options = {"dataset": "pictures", "salt": SALT, "chunks": 5, "group": None}
    here = build_catalogue("image_files", settings, tmp_path / "root", **options, unpack_to=tmp_path / "x")
    there = build_catalogue("image_files", settings, tmp_path / "root", **options, unpack_to=tmp_path / "y/z")
    pd.testing.assert_frame_equal(here.catalogue, there.catalogue)


# --- real data -----------------------------------------------------------------------------------


def test_real_contrast_ct_has_its_patients_and_one_duplicate(shared_data):
    root = shared_data / "ct_contrast_dicom_part"
    labels = read_label_table(root / "labels.csv")
    built = build_catalogue(
        "dicom",
        plugins.settings("readers", "dicom", {}),
        root,
        dataset="contrast_ct",
        salt=SALT,
        chunks=2,
        modality="CT",
        labels=labels,
        key="file",
        declared=["labels.csv"],
    )
    assert built.books == {
        "found": 22,
        "used": 19,
        "excluded": 3,
        "reasons": {"duplicate instance": 1, "not a DICOM file": 1, "not an image (declared)": 1},
    }
    assert unexpected_counts(built.catalogue, {"series": 19, "patients": labels.patient_id.nunique()}) == []


def test_real_lesions_are_the_groups_of_ham10000(shared_data):
    root = shared_data / "ham10000_part"
    built = build_catalogue(
        "image_files",
        plugins.settings("readers", "image_files", {"channels": "rgb", "ignore": ["masks/*"]}),
        root,
        dataset="ham10000",
        salt=SALT,
        chunks=2,
        group="lesion_id",
        labels=read_label_table(root / "metadata.csv"),
        key="image_id",
        workers=2,
    )
    assert unexpected_counts(built.catalogue, {"images": 1913, "patients": 1457}) == []

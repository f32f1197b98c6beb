"""Every file of datasets/: complete, and right for images in the layout that its publisher describes.

A new file needs a function of its name in tests/library/dataset_miniatures.py, unless its form is known there.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dataset_miniatures import miniature_of

from scanloom import dataset_config, plugins, preflight
from scanloom.cataloguing.catalogue import build_catalogue, declared_files
from scanloom.files.layout import layout_problem
from scanloom.labelling import label_config, label_tables, labels
from scanloom.plugin_fields import Plugin
from scanloom.splitting import splits

BUILT_IN = {"phantom"}  # makes its own images; tests/library/test_phantom.py


def pytest_generate_tests(metafunc):
    if "dataset" in metafunc.fixturenames:
        folder = metafunc.config.rootpath / "datasets"
        names = sorted(path.stem for path in folder.glob("*.yaml"))
        metafunc.parametrize("dataset", [dataset_config.load_dataset(name, folder) for name in names], ids=names)


@pytest.fixture
def miniature(dataset, tmp_path):
    """(root, what to expect) of a few images in the dataset's layout."""
    if dataset.name in BUILT_IN:
        pytest.skip("makes its own images")
    root = tmp_path / "images"
    root.mkdir()
    return root, miniature_of(dataset)(root, dataset)


def test_says_where_images_come_from_and_under_which_terms(dataset):
    assert dataset.licence.strip()
    assert dataset.name in ("phantom", "your_dicom_folder") or (dataset.citation and dataset.homepage)
    if dataset.source.name == "local_folder":
        assert dataset.how_to_get or "../shared/" in dataset.source.settings["path"]
    if "accept" in (dataset.how_to_get or "").lower():
        assert dataset.licence_acceptance == "required"
    for file in dataset.source.settings.get("files", []):
        assert file["url"].startswith("https://")
        assert file["md5"] or file["sha256"]


def test_names_only_columns_and_labels_that_exist(dataset):
    known = {*dataset.labels.columns, "site"}
    assert set(dataset.stratify) <= known, "stratify names labels, or site"
    assert set(dataset.expected) <= {"series", "patients", "images"}
    for name, label in dataset.labels.columns.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert len(set(label.classes)) == len(label.classes)


def test_has_a_label_that_a_task_can_use_or_says_that_it_has_none(dataset):
    usable = [name for name in dataset.labels.columns if not preflight._task_problems("x", name, dataset)]
    assert usable or (dataset.masks and dataset.masks.classes)


def built(dataset, root):
    """The miniature's catalogue and image table, as the rules catalogue_dataset and split_patients make them."""
    given = dataset.labels.model_dump()
    masks = dataset.masks.model_dump() if dataset.masks else None
    paths = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    table = label_tables.read_labels(root, given, paths, masks)
    mask = label_tables.mask_column(masks)
    catalogue = build_catalogue(
        dataset.reader.name,
        plugins.settings("readers", dataset.reader.name, dataset.reader.settings),
        root,
        dataset=dataset.name,
        salt="test",
        chunks=2,
        modality=dataset.modality,
        where=dataset.where,
        exclude=[rule.model_dump() for rule in dataset.exclude],
        group=dataset.group,
        site=dataset.site,
        labels=table,
        join=given["join"],
        key=given["key"],
        normalise=given["normalise"],
        declared=declared_files(label_tables.label_files(root, given), table, mask),
    )
    rows = pd.concat(catalogue.chunk_rows.values(), ignore_index=True)
    images = labels.image_table(
        rows,
        catalogue.catalogue,
        catalogue.labels,
        given["columns"],
        given["join"],
        given["key"],
        normalise=given["normalise"],
        mask_column=mask,
        official_column=dataset.official_split,
    )
    return catalogue, rows, images


def test_its_layout_is_read_and_its_labels_are_found(dataset, miniature):
    root, expected = miniature
    assert layout_problem(root, dataset.layout) is None
    catalogue, rows, images = built(dataset, root)
    assert catalogue.books["reasons"] == expected.excluded
    if expected.groups is not None:
        assert images.patient_id.nunique() == expected.groups
    place = rows.path + "#" + rows.frame.astype(str)
    for where, said in expected.labels.items():
        found = images[place.str.contains(where, regex=False).to_numpy() | place.str.endswith(where).to_numpy()]
        assert len(found), f"no image at {where}"
        for name, index in said.items():
            np.testing.assert_array_equal(found[name], np.nan if index is None else index, err_msg=f"{where} {name}")
    for where, split in expected.splits.items():
        found = images.official_split[place.str.contains(where, regex=False).to_numpy()]
        assert set(found.str.lower().map(splits.OFFICIAL_NAMES)) == {split}, where
    with_mask = {path for path in rows.path[images.has_mask.to_numpy()]}
    assert len(with_mask) == len(expected.masks)
    assert all(any(part in path for path in with_mask) for part in expected.masks)


def test_a_folder_without_its_layout_is_refused(dataset, tmp_path):
    if dataset.name in BUILT_IN or not dataset.layout:
        pytest.skip("says nothing about a layout")
    problem = layout_problem(tmp_path, dataset.layout, dataset.how_to_get)
    assert problem.startswith("the folder does not have the expected layout: missing")
    assert "\n" not in problem


def test_medmnist_files_are_those_of_the_package():
    """The 12 + 6 sets of MedMNIST v2 (Yang et al. 2023, tables 2 and 3): totals there, MD5 in medmnist 3.0.2's INFO."""
    published = {
        "pathmnist": (107180, "a8b06965200029087d5bd730944a56c1"),
        "chestmnist": (112120, "02c8a6516a18b556561a56cbdd36c4a8"),
        "dermamnist": (10015, "0744692d530f8e62ec473284d019b0c7"),
        "octmnist": (109309, "c68d92d5b585d8d81f7112f81e2d0842"),
        "pneumoniamnist": (5856, "28209eda62fecd6e6a2d98b1501bb15f"),
        "retinamnist": (1600, "bd4c0672f1bba3e3a89f0e4e876791e4"),
        "breastmnist": (780, "750601b1f35ba3300ea97c75c52ff8f6"),
        "bloodmnist": (17092, "7053d0359d879ad8a5505303e11de1dc"),
        "tissuemnist": (236386, "ebe78ee8b05294063de985d821c1c34b"),
        "organamnist": (58830, "68e3f8846a6bd62f0c9bf841c0d9eacc"),
        "organcmnist": (23583, "b9ceb9546e10131b32923c5bbeaea2b1"),
        "organsmnist": (25211, "9ab87b696fb54e2a387ebe992d6ed5f1"),
        "organmnist3d": (1742, "a0c5a1ff56af4f155c46d46fbb45a2fe"),
        "nodulemnist3d": (1633, "8755a7e9e05a4d9ce80a24c3e7a256f3"),
        "adrenalmnist3d": (1584, "bbd3c5a5576322bc4cdfea780653b1ce"),
        "fracturemnist3d": (1370, "6aa7b0143a6b42da40027a9dda61302f"),
        "vesselmnist3d": (1908, "b41fd4f7e7e2feedddb201585ecafa1b"),
        "synapsemnist3d": (1759, "1235b78a3cd6280881dd7850a78eadb6"),
    }
    root = Path(__file__).parents[2] / "datasets"
    for name, (count, md5) in published.items():
        dataset = dataset_config.load_dataset(name, root)
        [file] = dataset.source.settings["files"]
        assert (file["url"], file["md5"]) == (f"https://zenodo.org/records/10519652/files/{name}.npz?download=1", md5)
        assert dataset.expected["series" if name.endswith("3d") else "images"] == count


def on_real_images(name: str, root, **changes):
    """The dataset's catalogue and image table on real images (parts, in folders of other names)."""
    dataset = dataset_config.load_dataset(name, Path(__file__).parents[2] / "datasets")
    return built(dataset.model_copy(update=changes), root)


def test_real_pneumoniamnist_has_the_official_counts(shared_data):
    """MedMNIST v2: 1,214 / 3,494 normal / pneumonia in training, 135 / 389 in validation, 234 / 390 in test."""
    _, _, images = on_real_images("pneumoniamnist", shared_data / "pneumoniamnist28")
    counts = images.groupby(["official_split", "pneumonia"]).size().to_dict()
    assert counts == {
        ("train", 0): 1214,
        ("train", 1): 3494,
        ("validation", 0): 135,
        ("validation", 1): 389,
        ("test", 0): 234,
        ("test", 1): 390,
    }


def test_real_adrenal_volumes_have_the_official_counts(shared_data):
    """Training 929 normal, 259 hyperplasia; validation 76 and 22 (the part's README); 28 slices each."""
    _, _, images = on_real_images("adrenalmnist3d", shared_data / "adrenalmnist3d_part")
    volumes = images.drop_duplicates("series_id")
    assert volumes.groupby(["official_split", "hyperplasia"]).size().to_dict() == {
        ("train", 0): 929,
        ("train", 1): 259,
        ("validation", 0): 76,
        ("validation", 1): 22,
    }
    assert len(images) == 28 * len(volumes)


def test_real_lesions_have_the_counts_of_their_part(shared_data):
    """dx of the part: nv 1293, bkl 222, mel 203, bcc 88, akiec 60, vasc 25, df 22; 1,457 lesions."""
    _, _, images = on_real_images("ham10000", shared_data / "ham10000_part")
    assert images.dx.value_counts().sort_index().tolist() == [60, 88, 222, 22, 203, 1293, 25]
    assert images.patient_id.nunique() == 1457


def test_real_mednist_has_a_hundred_of_each(shared_data):
    _, _, images = on_real_images("mednist", shared_data / "mednist_easy")
    assert images.kind.value_counts().tolist() == [100] * 6


def test_real_hippocampi_find_their_masks(shared_data):
    """131 images, of which hippocampus_118 has no mask; masks 010 and 281 have no image."""
    dataset = dataset_config.load_dataset("msd_task04_hippocampus", Path(__file__).parents[2] / "datasets")
    names = {"path": "(?P<folder>.*)images/(?P<case>hippocampus_[0-9]+)[.]nii"}
    given = label_config.Labels(**dataset.labels.model_dump(exclude={"extract"}), extract=names)
    masks = label_config.Masks(file="{folder}labels/{case}.nii.gz")
    reader = Plugin(name="nifti", settings={"ignore": ["labels/*"]})
    root = shared_data / "hippocampus_part"
    _, _, images = on_real_images(dataset.name, root, labels=given, masks=masks, reader=reader)
    volumes = images.drop_duplicates("series_id")
    assert len(volumes) == 131
    assert (~volumes.has_mask).sum() == 1


def test_is_listed_in_the_documentation(dataset):
    page = Path(__file__).parents[2] / "docs" / "datasets.md"
    assert f"`{dataset.name}`" in page.read_text()

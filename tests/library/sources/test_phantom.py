"""The built-in cohort against DICOM, SimpleITK, textbook CT numbers and its own truth."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
import SimpleITK
from scipy import ndimage

from scanloom import plugins
from scanloom.dataset_config import DatasetFile
from scanloom.sources import _phantom_scanner as scanner
from scanloom.sources import phantom
from scanloom.sources._phantom_anatomy import CODE, draw_head
from scanloom.sources._phantom_bleeds import KINDS, draw_bleed

SETTINGS = phantom.Settings(
    patients=6, matrix=64, slices_per_series=8, bleed_share=0.5, second_series_share=0.5, site_b_share=0.5
)
SEED = 5


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return phantom.fetch(SETTINGS, tmp_path_factory.mktemp("phantom"), seed=SEED, workers=1).root


@pytest.fixture(scope="module")
def labels(cohort) -> pd.DataFrame:
    return pd.read_csv(cohort / "labels.csv", keep_default_na=False)


@pytest.fixture(scope="module")
def instances(cohort) -> dict[str, list[pydicom.Dataset]]:
    """Good instances by series, in file-name order."""
    series: dict[str, list] = {}
    for path in sorted((cohort / "dicom").rglob("IM*")):
        instance = pydicom.dcmread(path)
        series.setdefault(instance.SeriesInstanceUID, []).append(instance)
    return series


def _checksums(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _hounsfield(instance: pydicom.Dataset) -> np.ndarray:
    return instance.pixel_array * float(instance.RescaleSlope) + float(instance.RescaleIntercept)


def _normal(instance: pydicom.Dataset) -> np.ndarray:
    return np.cross(instance.ImageOrientationPatient[:3], instance.ImageOrientationPatient[3:])


def _in_stack_order(instances: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
    return sorted(instances, key=lambda i: float(np.dot(i.ImagePositionPatient, _normal(i))))


def test_every_good_file_is_a_12_bit_ct_of_the_named_patient(instances, labels):
    assert len(instances) == 9  # 6 patients, half of them twice
    assert {len(series) for series in instances.values()} == {8}
    for instance in (i for series in instances.values() for i in series):
        assert (instance.Modality, instance.BitsAllocated, instance.BitsStored) == ("CT", 16, 12)
        assert instance.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
        assert instance.pixel_array.shape == (64, 64)
        low = -2048 if instance.PixelRepresentation else 0
        assert low <= instance.pixel_array.min() <= instance.pixel_array.max() < low + 4096
        assert instance.SOPInstanceUID.is_valid
        [row] = labels[labels.sop_uid == instance.SOPInstanceUID].itertuples()
        assert (row.patient_id, row.series_uid) == (instance.PatientID, instance.SeriesInstanceUID)
        assert re.search("Quillon", str(instance.PatientName))


def test_the_two_sites_store_the_same_units_differently(instances, labels):
    first = {i.SOPInstanceUID: i for series in instances.values() for i in series}
    site = {s: first[uid] for s, uid in labels.drop_duplicates("site").set_index("site").sop_uid.items()}
    assert (site["A"].PixelRepresentation, site["A"].RescaleIntercept, site["A"].PixelPaddingValue) == (0, -1024, 0)
    assert (site["B"].PixelRepresentation, site["B"].RescaleIntercept, site["B"].PixelPaddingValue) == (1, 0, -2000)
    assert site["A"].Manufacturer != site["B"].Manufacturer
    assert site["A"].XRayTubeCurrent > site["B"].XRayTubeCurrent


def test_padding_fills_exactly_the_outside_of_the_circular_field_of_view(instances):
    axis = np.arange(64) - 31.5
    outside = np.hypot(axis[:, None], axis) > 32
    for instance in (i for series in instances.values() for i in series):
        np.testing.assert_array_equal(instance.pixel_array == instance.PixelPaddingValue, outside)


def test_slices_are_equidistant_along_their_normal_and_match_the_spacing_tags(instances):
    for series in instances.values():
        stack = _in_stack_order(series)
        normal = _normal(stack[0])
        assert {tuple(i.ImageOrientationPatient) for i in stack} == {tuple(stack[0].ImageOrientationPatient)}
        np.testing.assert_allclose(np.linalg.norm(normal), 1, atol=1e-6)
        steps = np.diff([i.ImagePositionPatient for i in stack], axis=0)
        np.testing.assert_allclose(steps, np.tile(normal * float(stack[0].SpacingBetweenSlices), (7, 1)), atol=1e-3)
        for i in stack:
            assert float(i.SliceLocation) == pytest.approx(float(np.dot(i.ImagePositionPatient, normal)), abs=1e-3)


def test_file_names_and_instance_numbers_do_not_give_the_order_away(instances):
    by_name = [[i.ImagePositionPatient[2] for i in series] for series in instances.values()]
    assert not any(heights == sorted(heights) for heights in by_name)
    numbers = [[int(i.InstanceNumber) for i in _in_stack_order(series)] for series in instances.values()]
    assert all(sorted(n) == list(range(1, 9)) for n in numbers)
    assert any(n != sorted(n) for n in numbers)


def test_masks_lie_on_the_grid_simpleitk_gives_the_series(cohort, labels):
    bleeding = labels[labels["mask"] != ""].drop_duplicates("mask")
    assert len(bleeding) >= 3
    for row in bleeding.itertuples():
        mask = SimpleITK.ReadImage(str(cohort / row.mask))
        folder = cohort / "dicom" / row.patient_id / Path(row.mask).name.split("-")[-1].removesuffix(".nii.gz")
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), row.series_uid))
        series = reader.Execute()
        assert mask.GetSize() == series.GetSize()
        for of_mask, of_series in (
            (mask.GetOrigin(), series.GetOrigin()),
            (mask.GetSpacing(), series.GetSpacing()),
            (mask.GetDirection(), series.GetDirection()),
        ):
            np.testing.assert_allclose(of_mask, of_series, atol=2e-3)


def test_labels_are_what_the_masks_say(cohort, labels, instances):
    assert len(labels) == 72
    assert labels.sop_uid.is_unique
    assert set(labels.columns) == set(phantom.LABEL_COLUMNS(SETTINGS))
    assert labels.groupby("patient_id").bleed.max().sum() == 3
    assert (labels.bleed == (labels.bleed_area_mm2 >= phantom.MIN_BLEED_MM2)).all()
    assert ((labels.bleed_type != "none") == (labels.bleed == 1)).all()
    for name, rows in labels[labels["mask"] != ""].groupby("mask"):
        mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(cohort / name)))
        stack = _in_stack_order(instances[rows.series_uid.iloc[0]])
        area = mask.sum(axis=(1, 2)) * float(stack[0].PixelSpacing[0]) ** 2
        in_order = rows.set_index("sop_uid").loc[[i.SOPInstanceUID for i in stack]]
        np.testing.assert_allclose(in_order.bleed_area_mm2, area, atol=0.06)
        assert (np.diff(in_order.level) >= 0).all()


def test_tissues_have_their_textbook_ct_numbers():
    """Ranges: grey 30-45, white 20-36, CSF 0-20, bone above 300, air below -900 (any CT text); means over 6 heads."""
    means: dict[str, list] = {name: [] for name in ("grey", "white", "csf", "bone", "air", "bleed")}
    machine = scanner.SCANNERS["A"]
    protocol = scanner.Protocol(tuple(np.linspace(-20, 50, 8)), 5.0, 128, "H60h")
    for seed in range(6):
        rng = np.random.default_rng(seed)
        head = draw_head(rng, 50)
        bleed = draw_bleed(rng, head, "intraparenchymal")
        made = scanner.scan(rng, head, bleed, machine, protocol)
        hu = made.stored.astype(float) + machine.intercept
        for name, values in means.items():
            # Away from edges, where a voxel holds one tissue only; CSF spaces are too thin to shrink twice.
            shrunk = ndimage.binary_erosion(made.tissue == CODE[name], np.ones((1, 3, 3)), 1 if name == "csf" else 2)
            if shrunk.sum() > 20:
                values.append(hu[shrunk].mean())
    assert all(len(values) >= 3 for values in means.values()), {k: len(v) for k, v in means.items()}
    ranges = {"grey": (30, 45), "white": (20, 36), "csf": (0, 20), "bone": (300, 1500), "air": (-1010, -900)}
    for name, (low, high) in {**ranges, "bleed": (50, 85)}.items():
        assert low < np.mean(means[name]) < high, (name, means[name])
    assert np.mean(means["grey"]) - np.mean(means["white"]) > 4


@pytest.mark.parametrize("kind", KINDS)
def test_a_bleed_lies_inside_the_skull_and_is_visible_only_in_a_narrow_window(kind):
    protocol = scanner.Protocol(tuple(np.linspace(-30, 54, 15)), 5.0, 128, "H30s")
    contrast = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        head = draw_head(rng, 60)
        bleed = draw_bleed(rng, head, kind)
        made = scanner.scan(rng, head, bleed, scanner.SCANNERS["A"], protocol)
        hu = made.stored.astype(float) - 1024
        contrast.append(np.median(hu[made.mask]) - np.median(hu[made.tissue == CODE["grey"]]))
        assert 1 < made.mask.sum() * protocol.pixel_mm**2 * 6 / 1000 < 75  # ml
        assert not made.mask[hu < -100].any()
    # To grey matter, with the skull's glare on what lies under it: under 2 % of the bone window's 2800 HU.
    assert 8 < np.mean(contrast) < 56


def test_same_seed_same_bytes_with_any_number_of_processes(cohort, tmp_path):
    again = phantom.fetch(SETTINGS, tmp_path / "again", seed=SEED, workers=2).root
    assert _checksums(again) == _checksums(cohort)
    own_seed = SETTINGS.model_copy(update={"seed": SEED})
    small = own_seed.model_copy(update={"patients": 4, "slices_per_series": 4, "matrix": 32})
    first = _checksums(phantom.fetch(small, tmp_path / "a", seed=1, workers=1).root)
    assert first == _checksums(phantom.fetch(small, tmp_path / "b", seed=2, workers=1).root)
    other = small.model_copy(update={"seed": SEED + 1})
    assert first != _checksums(phantom.fetch(other, tmp_path / "c", seed=1, workers=1).root)


def test_a_complete_fetch_is_reused_and_a_broken_one_is_made_again(tmp_path):
    small = phantom.Settings(patients=4, matrix=32, slices_per_series=4)
    calls = []
    first = phantom.fetch(small, tmp_path, seed=1, workers=1, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert first.fetched == first.files > 0
    second = phantom.fetch(small, tmp_path, seed=1, workers=1)
    assert (second.fetched, second.reused, second.bytes) == (0, first.files, first.bytes)
    whole = _checksums(first.root)
    victim = next((first.root / "dicom").rglob("IM*"))
    victim.write_bytes(victim.read_bytes()[:100])
    (tmp_path / "cohort.partial").mkdir()
    (tmp_path / "cohort.partial" / "left_over").write_text("from a killed fetch")
    assert phantom.fetch(small, tmp_path, seed=1, workers=1).fetched == first.files
    assert _checksums(first.root) == whole
    assert phantom.fetch(small, tmp_path, seed=2, workers=1).reused == 0


def test_the_dicom_reader_excludes_the_bad_files_for_the_true_reasons_and_nothing_else(cohort, labels):
    reader = plugins.load("readers", "dicom")
    settings = plugins.settings("readers", "dicom", {"ignore": ["labels.csv", "masks/*"]})
    found = reader.scan(cohort, settings, modality="CT")
    verdict = dict(zip(found.files.path, found.files.reason, strict=True))
    assert set(verdict) == {p.relative_to(cohort).as_posix() for p in cohort.rglob("*") if p.is_file()}
    stacks = reader.group_series(found, settings)
    for row in stacks.images.merge(stacks.series[stacks.series.reason != ""], on="series_key").itertuples():
        verdict[row.path] = row.reason
    undeclared = {p: r for p, r in verdict.items() if r and not p.startswith("masks/") and p != "labels.csv"}
    assert undeclared == phantom.expected_exclusions(SETTINGS)
    assert sum(not reason for reason in verdict.values()) == len(labels)


def test_bad_files_can_be_left_out(tmp_path):
    small = phantom.Settings(patients=4, matrix=32, slices_per_series=4, bad_files=False)
    assert phantom.expected_exclusions(small) == {}
    assert not (phantom.fetch(small, tmp_path, seed=1, workers=1).root / "extra").exists()


def test_the_planned_cohort_meets_its_shares_exactly():
    plan = phantom.plan_cohort(phantom.Settings(), seed=9)
    assert len(plan) == 240
    assert sum(p.bleed is not None for p in plan) == 96
    assert sum(p.site == "B" for p in plan) == 96
    assert sum(p.second is not None for p in plan) == 60
    assert {p.bleed for p in plan} == {*KINDS, None}


def test_the_dataset_file_is_valid_and_its_counts_follow_from_its_settings(root):
    import yaml

    dataset = DatasetFile(**yaml.safe_load((root / "datasets/phantom.yaml").read_text()))
    settings = plugins.settings("sources", "phantom", dataset.source.settings)
    series = settings.patients + sum(p.second is not None for p in phantom.plan_cohort(settings, settings.seed))
    assert dataset.expected == {
        "series": series, "patients": settings.patients, "images": series * settings.slices_per_series
    }  # fmt: skip
    columns = phantom.LABEL_COLUMNS(settings)
    assert {*dataset.labels.columns, dataset.labels.key, dataset.site, dataset.masks.table_column} <= set(columns)
    assert set(dataset.labels.columns["bleed_type"].classes) == {"none", *KINDS}

"""The reader of NPZ files."""

import numpy as np
import pytest

from scanloom.readers import npz
from scanloom.readers.npz import Settings

GENERATOR = np.random.default_rng(1)
TRAIN = GENERATOR.integers(0, 256, (3, 5, 6), dtype=np.uint8)
TEST = GENERATOR.integers(0, 256, (2, 5, 6), dtype=np.uint8)


def two_splits(root):
    labels = {"train_labels": np.array([[0], [1], [1]]), "test_labels": np.array([[1], [0]])}
    np.savez_compressed(root / "a.npz", train_images=TRAIN, test_images=TEST, **labels)
    settings = Settings()
    scan = npz.scan(root, settings)
    return scan, npz.group_series(scan, settings), settings


def test_each_entry_is_a_series_with_its_own_pixels(tmp_path):
    _, grouped, settings = two_splits(tmp_path)
    assert len(grouped.series) == 5
    for _, rows in grouped.images.groupby("series_key"):
        volume = npz.read_series(tmp_path, rows, settings)
        expected = np.concatenate([TRAIN, TEST])[rows.frame.iloc[0]]
        np.testing.assert_array_equal(volume.values[0], expected)
        assert volume.unit == "0-255"


def test_labels_and_official_split_come_with_the_same_index(tmp_path):
    scan, _, _ = two_splits(tmp_path)
    assert scan.labels["index"].tolist() == ["0", "1", "2", "3", "4"]
    assert scan.labels["label"].tolist() == ["0", "1", "1", "1", "0"]
    assert scan.labels["split"].tolist() == ["train"] * 3 + ["test"] * 2
    assert scan.images.frame.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("shape", "expected", "slices"),
    [
        ((2, 5, 6), (1, 5, 6), 1),
        ((2, 5, 6, 3), (1, 5, 6, 3), 1),
        ((2, 5, 6, 1), (1, 5, 6), 1),
        ((2, 7, 5, 6), (7, 5, 6), 7),
        ((2, 7, 5, 6, 3), (7, 5, 6, 3), 7),
    ],
)
def test_axes_are_understood(tmp_path, shape, expected, slices):
    np.savez(tmp_path / "a.npz", train_images=GENERATOR.integers(0, 9, shape, dtype=np.uint8))
    settings = Settings()
    grouped = npz.group_series(npz.scan(tmp_path, settings), settings)
    rows = grouped.images[grouped.images.frame == 1]
    assert rows.slice_index.tolist() == list(range(slices))
    assert npz.read_series(tmp_path, rows, settings).values.shape == expected


def test_other_broken_and_empty_files_have_their_reason(tmp_path):
    two_splits(tmp_path)
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "notes.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", something=np.zeros(3))
    found = npz.scan(tmp_path, Settings()).files.set_index("path").reason.to_dict()
    assert found == {
        "a.npz": "",
        "cut.npz": "truncated",
        "notes.npz": "not an NPZ file",
        "other.npz": "no image arrays",
    }


def test_arrays_that_are_no_pictures_have_their_reason(tmp_path):
    for name, array in (("words", np.array(["a", "b"])), ("flat", np.zeros(4)), ("objects", np.array([{}, {}]))):
        np.savez(tmp_path / f"{name}.npz", train_images=array)
    assert npz.scan(tmp_path, Settings()).files.reason.tolist() == ["undecodable"] * 3


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_values_that_are_no_numbers_are_padding_and_an_entry_of_nothing_else_a_reason(tmp_path, dtype):
    some = GENERATOR.random((3, 5, 6)).astype(dtype)
    some[1, 2] = [np.nan, np.inf, -np.inf, 1, 2, 3]
    np.savez(tmp_path / "some.npz", train_images=some)
    for name, index in (("all", slice(None)), ("one", 1)):
        array = GENERATOR.random((3, 5, 6)).astype(dtype)
        array[index] = np.nan
        np.savez(tmp_path / f"{name}.npz", train_images=array)
    scan = npz.scan(tmp_path, Settings())
    bad = "values that are not numbers"
    assert scan.files.set_index("path").reason.to_dict() == {"all.npz": bad, "one.npz": bad, "some.npz": ""}
    images = npz.group_series(scan, Settings()).images
    volume = npz.read_series(tmp_path, images[(images.frame == 1) & (images.path == "some.npz")], Settings())
    there = np.isfinite(some[1])
    np.testing.assert_array_equal(volume.padding_mask[0], ~there)
    np.testing.assert_array_equal(volume.values[0][there], some[1][there].astype(np.float32))
    assert (volume.values[0][~there] == some[1][there].min().astype(np.float32)).all()


def test_labels_that_are_python_objects_have_their_reason(tmp_path):
    labels = np.array([{}, {}, {}], dtype=object)
    np.savez(tmp_path / "a.npz", train_images=TRAIN, train_labels=labels)
    assert npz.scan(tmp_path, Settings()).files.reason.tolist() == ["undecodable"]


def test_a_large_array_is_kept_on_the_disk_and_reads_the_same(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "a.npz", train_images=TRAIN)
    settings = Settings()
    grouped = npz.group_series(npz.scan(tmp_path, settings), settings)
    monkeypatch.setattr(npz, "LARGEST_IN_MEMORY", 0)
    npz._loaded.cache_clear()
    for _, rows in grouped.images.groupby("series_key"):
        volume = npz.read_series(tmp_path, rows, settings)
        np.testing.assert_array_equal(volume.values[0], TRAIN[rows.frame.iloc[0]])
    path = tmp_path / "a.npz"
    assert isinstance(npz._loaded(str(path), "train_images", path.stat().st_mtime_ns), np.memmap)


def test_a_changed_bit_is_noticed(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", train_images=GENERATOR.integers(0, 256, (9, 50, 60), dtype=np.uint8))
    file = bytearray((tmp_path / "a.npz").read_bytes())
    file[len(file) // 2] ^= 1
    (tmp_path / "a.npz").write_bytes(file)
    assert npz.scan(tmp_path, Settings()).files.reason.tolist() == ["truncated"]


def test_labels_of_another_length_are_a_clear_error(tmp_path):
    np.savez(tmp_path / "a.npz", train_images=TRAIN, train_labels=np.zeros((2, 1)))
    with pytest.raises(ValueError, match="train_labels has 2 rows and 1 columns; expected 3 rows"):
        npz.scan(tmp_path, Settings())


def test_real_pneumoniamnist_has_its_official_counts(shared_data):
    settings = Settings(label_columns=["pneumonia"])
    scan = npz.scan(shared_data / "pneumoniamnist28", settings)
    counts = scan.labels.groupby(["split", "pneumonia"]).size().to_dict()
    assert counts == {
        ("train", "0"): 1214,
        ("train", "1"): 3494,
        ("validation", "0"): 135,
        ("validation", "1"): 389,
        ("test", "0"): 234,
        ("test", "1"): 390,
    }


def test_real_volumes_have_their_official_counts(shared_data):
    settings = Settings(label_columns=["hyperplasia"])
    scan = npz.scan(shared_data / "adrenalmnist3d_part", settings)
    assert scan.labels.groupby(["split", "hyperplasia"]).size().to_dict() == {
        ("train", "0"): 929,
        ("train", "1"): 259,
        ("validation", "0"): 76,
        ("validation", "1"): 22,
    }
    grouped = npz.group_series(scan, settings)
    assert len(grouped.series) == 1188 + 98
    rows = grouped.images[grouped.images.frame == 5]
    volume = npz.read_series(shared_data / "adrenalmnist3d_part", rows, settings)
    assert volume.values.shape == (28, 28, 28)
    assert set(np.unique(volume.values)) == {0.0, 255.0}

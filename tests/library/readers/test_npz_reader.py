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

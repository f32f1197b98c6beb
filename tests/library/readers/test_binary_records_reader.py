"""Records without a header, written byte by byte as https://www.cs.toronto.edu/~kriz/cifar.html describes them."""

import numpy as np
import pytest

from scanloom.readers import binary_records
from scanloom.readers.binary_records import Settings

SETTINGS = Settings(
    files={"train": "batch_?.bin", "test": "test.bin"}, label_columns=["object"], shape=(2, 3), channels=3
)
# Label 7; red 0..5, green 10..15, blue 20..25, rows from the top.
RECORD = bytes([7, *range(0, 6), *range(10, 16), *range(20, 26)])


@pytest.fixture
def scanned(tmp_path):
    (tmp_path / "batch_1.bin").write_bytes(RECORD * 2)
    (tmp_path / "test.bin").write_bytes(RECORD)
    (tmp_path / "batch_2.bin").write_bytes(RECORD + RECORD[:-1])
    (tmp_path / "batch_3.bin").touch()
    (tmp_path / "readme.txt").write_text("six batches")
    return binary_records.scan(tmp_path, SETTINGS)


def test_every_file_has_a_verdict(scanned):
    assert dict(zip(scanned.files.path, scanned.files.reason, strict=True)) == {
        "batch_1.bin": "",
        "batch_2.bin": "truncated",
        "batch_3.bin": "truncated",
        "readme.txt": "not a record file",
        "test.bin": "",
    }


def test_labels_and_official_split_come_along(scanned):
    assert scanned.labels.to_dict("list") == {
        "index": ["0", "1", "0"],
        "path": ["batch_1.bin", "batch_1.bin", "test.bin"],
        "split": ["train", "train", "test"],
        "object": ["7", "7", "7"],
    }


def test_planes_become_channels(scanned, tmp_path):
    grouped = binary_records.group_series(scanned, SETTINGS)
    assert len(grouped.series) == 3
    rows = grouped.images[grouped.images.sop_uid == "batch_1.bin/1"]
    volume = binary_records.read_series(tmp_path, rows, SETTINGS)
    assert volume.values.shape == (1, 2, 3, 3)
    np.testing.assert_array_equal(volume.values[0, 0, 1], [1, 11, 21])
    np.testing.assert_array_equal(volume.values[0, 1, 0], [3, 13, 23])
    assert volume.unit == "0-255"
    assert volume.channels == ("red", "green", "blue")


def test_grey_records_without_labels(tmp_path):
    settings = Settings(files={"train": "*.bin"}, label_columns=[], shape=(2, 3))
    (tmp_path / "a.bin").write_bytes(bytes(range(12)))
    scan = binary_records.scan(tmp_path, settings)
    rows = binary_records.group_series(scan, settings).images.iloc[1:]
    volume = binary_records.read_series(tmp_path, rows, settings)
    np.testing.assert_array_equal(volume.values, [[[6, 7, 8], [9, 10, 11]]])

"""The digits that come with scikit-learn, compared with what scikit-learn itself gives."""

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from scanloom.sources import sklearn_digits


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_pictures_and_labels_are_those_of_scikit_learn(tmp_path, digits):
    report = sklearn_digits.fetch(sklearn_digits.Settings(), tmp_path, seed=None)
    assert (report.files, report.fetched, report.reused) == (1798, 1798, 0)
    with open(report.root / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == sklearn_digits.LABEL_COLUMNS(sklearn_digits.Settings())
    assert [int(row["digit"]) for row in rows] == digits.target.tolist()
    shown = np.stack([np.asarray(Image.open(report.root / row["file"])) for row in rows])
    np.testing.assert_array_equal(shown / 15, digits.images)


def test_npz_holds_the_same_in_the_manner_of_medmnist(tmp_path, digits):
    report = sklearn_digits.fetch(sklearn_digits.Settings(format="npz"), tmp_path, seed=None)
    with np.load(report.root / "digits.npz") as arrays:
        np.testing.assert_array_equal(arrays["train_images"] / 15, digits.images)
        np.testing.assert_array_equal(arrays["train_labels"][:, 0], digits.target)


@pytest.mark.parametrize("form", ["png", "npz"])
def test_second_run_writes_nothing_and_a_damaged_folder_is_made_anew(tmp_path, form):
    settings = sklearn_digits.Settings(format=form)
    first = sklearn_digits.fetch(settings, tmp_path, seed=None)
    content = {path: path.read_bytes() for path in first.root.rglob("*") if path.is_file()}
    times = {path: path.stat().st_mtime_ns for path in content}
    again = sklearn_digits.fetch(settings, tmp_path, seed=None)
    assert (again.fetched, again.reused, again.bytes) == (0, first.files, sum(map(len, content.values())))
    assert times == {path: path.stat().st_mtime_ns for path in content}
    next(iter(content)).write_bytes(b"damaged")
    assert sklearn_digits.fetch(settings, tmp_path, seed=None).fetched == first.files
    assert content == {path: path.read_bytes() for path in content}
    assert sklearn_digits.plan(settings, tmp_path).files == first.files

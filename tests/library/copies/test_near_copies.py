"""Copies planted in real images: whoever planted them knows the truth (benchmarks/leakage.py does it on more)."""

import importlib

import numpy as np
import pytest

from scanloom.copies.fingerprints import fingerprints
from scanloom.copies.near_copies import near_pairs


@pytest.fixture
def planted(root, monkeypatch):
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module("_planted")


def assert_found(planted, originals, each):
    pixels, truth = planted.plant(originals, each)
    person = np.where(truth["original"] >= 0, -1 - truth.index, truth["person"])
    pairs, likeness = near_pairs(fingerprints(pixels), person)
    recall, precision, mistakes = planted.score(pairs, truth)
    assert set(recall) == {"crop", "flip", "noise", "re-window", "JPEG"}
    assert min(recall.values()) >= 0.95, recall
    assert precision >= 0.95, f"{mistakes} pairs of strangers"
    assert ((likeness > 0.9) & (likeness <= 1 + 1e-5)).all()


def some(images, number):
    chosen = np.sort(np.random.default_rng(1).choice(len(images.images), number, replace=False))
    images.images, images.person = [images.images[i] for i in chosen], images.person[chosen]
    return images


def test_copies_among_chest_radiographs(planted, shared_data):
    assert_found(planted, some(planted.chest(shared_data), 1200), each=60)


def test_copies_among_moles(planted, shared_data):
    assert_found(planted, some(planted.moles(shared_data), 700), each=40)


def test_copies_among_head_ct_pictures(planted, shared_data):
    assert_found(planted, planted.heads(shared_data), each=40)


def test_copies_among_phantom_ct(planted, tmp_path):
    assert_found(planted, planted.phantom(tmp_path, patients=24), each=40)


def volumes(n, seed=0):
    """uint16 [n, 12, 20, 20, 1]: smooth random volumes."""
    rng = np.random.default_rng(seed)
    values = rng.random((n, 6, 10, 10, 1)).repeat(2, axis=1).repeat(2, axis=2).repeat(2, axis=3)
    return (values * 3000 + 500).astype(np.uint16)


def test_copies_among_volumes():
    """One copy turned over, one cropped by a slice and a row on one side, one noisy."""
    images = volumes(40)
    images[10] = images[0][:, ::-1]
    images[11] = np.pad(images[1][1:, 1:], ((0, 1), (0, 1), (0, 0), (0, 0)), mode="edge")
    images[12] = images[2] + np.random.default_rng(3).integers(0, 60, images[2].shape)
    pairs, _ = near_pairs(fingerprints(images), np.arange(40))
    assert set(map(tuple, pairs.tolist())) == {(0, 10), (1, 11), (2, 12)}


def test_images_of_one_patient_and_too_few_images_are_no_pairs():
    images = volumes(6)
    images[1] = images[0]
    pairs, likeness = near_pairs(fingerprints(images), np.array([7, 7, 2, 3, 4, 5]))
    assert pairs.shape == (0, 2)
    assert likeness.shape == (0,)
    for n in (0, 1):
        assert near_pairs(fingerprints(images)[:n], np.arange(n))[0].shape == (0, 2)
    assert near_pairs(fingerprints(images), np.arange(6))[0].tolist() == [[0, 1]]


def test_heads_that_are_alike_are_no_copies():
    """Forty patients share most of their anatomy: plain correlation above 0.95, yet nobody is another's copy."""
    shared = volumes(1, seed=9).astype(float)
    images = np.rint(0.8 * shared + 0.2 * volumes(40)).astype(np.uint16)
    plain = np.corrcoef(images.reshape(40, -1))[np.triu_indices(40, 1)]
    assert plain.min() > 0.9
    assert len(near_pairs(fingerprints(images), np.arange(40))[0]) == 0

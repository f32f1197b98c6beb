"""Batches are a function of the update's number: every image once per epoch, and draws that belong to the image."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_corpus

from scanloom.pretraining.method_batches import batches, draws
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.branches import METHOD_PREFIX, branch_prefix, of_branch, of_method

CORPUS = tiny_corpus.TinyCorpus()
KEYS = keys_of(CORPUS.table["item_id"])
PIPELINE = Pipeline([("flip", {})], (16, 16, 1))
NOISY = SimpleNamespace(BRANCHES=2, draw=lambda uniform, settings, shape: {"u": uniform(settings, len(shape))})
SILENT = SimpleNamespace(BRANCHES=1)


def batch_at(method=NOISY, settings=2, rows=None, labels=None, seed=1):
    rows = np.arange(48) if rows is None else rows
    keys = KEYS[rows]
    return batches(CORPUS, rows, keys, labels, method, settings, PIPELINE, batch=16, updates=12, seed=seed)


def test_a_batch_holds_images_draws_step_and_progress_and_labels_only_where_used():
    plain = batch_at(SILENT)(3)
    assert set(plain) == {"images", "step", "progress", branch_prefix(0) + "0.flip.flipped"}
    labelled = batch_at(labels=np.arange(48, dtype=np.int32))(3)
    assert set(labelled) == {*plain, "labels", METHOD_PREFIX + "u", branch_prefix(1) + "0.flip.flipped"}
    assert all(len(values) == 16 for values in labelled.values())
    assert (labelled["step"] == 3).all()
    assert labelled["step"].dtype == np.int32
    assert np.array_equal(labelled["progress"], np.full(16, 0.25, np.float32))
    assert np.array_equal(labelled["images"], CORPUS.images(labelled["labels"])), "labels and images are of one item"


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order():
    at = batch_at(labels=np.arange(48))
    epochs = [np.concatenate([at(3 * epoch + i)["labels"] for i in range(3)]) for epoch in range(2)]
    assert all(sorted(epoch) == list(range(48)) for epoch in epochs)
    assert not np.array_equal(*epochs)


def test_the_same_update_gives_the_same_batch_whatever_was_asked_before():
    forward, backward = batch_at(), batch_at()
    found = {step: forward(step) for step in range(7)}
    for step in reversed(range(7)):
        again = backward(step)
        assert all(np.array_equal(again[name], values) for name, values in found[step].items())


def test_draws_belong_to_the_image_not_to_its_batch():
    every = draws(NOISY, 2, PIPELINE, 1, 0, KEYS)
    some = draws(NOISY, 2, PIPELINE, 1, 0, KEYS[[40, 3]])
    assert all(np.array_equal(some[name], values[[40, 3]]) for name, values in every.items())


def test_draws_differ_between_images_epochs_seeds_and_branches():
    first = draws(NOISY, 2, PIPELINE, 1, 0, KEYS)
    u = of_method(first)["u"]
    assert u.shape == (48, 2, 3)
    assert len(np.unique(u)) == u.size
    assert 0 <= u.min() < u.max() < 1
    for seed, epoch in ((1, 1), (2, 0)):
        assert not np.intersect1d(u, of_method(draws(NOISY, 2, PIPELINE, seed, epoch, KEYS))["u"]).size
    flips = [of_branch(first, branch)["0.flip.flipped"] for branch in range(2)]
    assert not np.array_equal(*flips)


@pytest.mark.parametrize("kept", [np.arange(0, 48, 2), np.arange(20)])
def test_images_that_are_left_out_do_not_appear_and_a_rest_waits(kept):
    at = batch_at(rows=kept, labels=kept)
    seen = {int(label) for step in range(12) for label in at(step)["labels"]}
    assert seen <= set(kept.tolist())
    assert at(1)["progress"][0] == np.float32(1 / 12)
    assert len(at(0)["images"]) == 16

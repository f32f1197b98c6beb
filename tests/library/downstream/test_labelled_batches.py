"""Batches as a function of the update's number."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scanloom.downstream.labelled_batches import labelled_batches
from scanloom.pretraining.view_pipeline import Pipeline

VIEWS = Pipeline([("flip", {"axes": [-1, -2]})], (4, 4, 1))


def toy(n=10):
    images = np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    table = pd.DataFrame({"item_id": [f"i{i}" for i in range(n)]})
    return SimpleNamespace(table=table, images=lambda rows: images[rows])


def stream(rows, batch, steps, seed=0, shards=None):
    labels = rows % 3
    weights = rows / 10
    at = labelled_batches(shards or toy(), rows, labels, weights, VIEWS, seed, batch)
    return [at(step) for step in range(steps)]


@pytest.mark.parametrize("batch", [1, 3, 7, 12, 40])
def test_every_epoch_shows_every_image_once_in_an_order_of_its_own(batch):
    rows = np.array([1, 2, 4, 5, 7, 8, 9])
    shown = np.concatenate([b["images"][:, 0, 0, 0] for b in stream(rows, batch, 70)])[:63].reshape(9, 7)
    assert (np.sort(shown, axis=1) == rows).all()
    assert len({tuple(order) for order in shown.tolist()}) > 6


def test_labels_and_weights_belong_to_their_images():
    rows = np.array([1, 2, 4, 5, 7, 8, 9])
    for batch in stream(rows, 5, 4):
        shown = batch["images"][:, 0, 0, 0]
        assert np.array_equal(batch["labels"], shown % 3)
        assert np.allclose(batch["weights"], shown / 10)


def test_the_same_step_gives_the_same_batch_in_any_order_and_another_seed_another():
    rows = np.arange(10)
    at = labelled_batches(toy(), rows, rows, rows, VIEWS, 0, 4)
    forward = [at(step) for step in range(6)]
    backward = [at(step) for step in reversed(range(6))][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert all(np.array_equal(a[name], b[name]) for name in a)
    other = stream(rows, 4, 6, seed=1)
    assert any(not np.array_equal(a["images"], b["images"]) for a, b in zip(forward, other, strict=True))


def test_an_image_that_comes_twice_in_a_batch_gets_two_views():
    rows = np.array([3])
    flipped = stream(rows, 64, 1)[0]["draw_0.flip.flipped"]
    assert 0.3 < flipped.mean() < 0.7
    assert len(np.unique(flipped, axis=0)) == 4

"""What monitors look at: few images of a row, more where a method looks once besides, views of the first ones."""

import numpy as np
import pytest
import tiny_corpus as tiny

from scanloom import plugins
from scanloom.pretraining.method_training import MethodTraining
from scanloom.pretraining.watch import Watch
from scanloom.training.budget import Budget


def watched(once: bool = False, **budget):
    """(watch, encoder) of Barlow Twins on the 48 images."""
    budget = Budget(updates=100, **budget)
    training = MethodTraining(
        tiny.TinyCorpus(),
        method="barlow_twins",
        method_settings={"projector": [16, 16]},
        encoder="small_cnn",
        encoder_settings={"width": 4, "stages": [1]},
        views=tiny.VIEWS,
        budget=budget,
        seed=5,
    )
    looked_at = budget.looked_at(plugins.load("methods", "barlow_twins").BRANCHES)
    given = training.rows, training.keys, training.pipeline, budget, 5, looked_at, once
    return Watch(training.shards, *given), training.encoder()


@pytest.mark.parametrize("once", [False, True])
def test_a_row_looks_at_few_images_and_more_are_kept_for_looks_that_happen_once(once):
    watch, encoder = watched(once, batch=4, interval=50)  # the budget allows 32 images
    assert watch.monitored == 32
    assert len(np.concatenate(watch.images)) == len(watch.chosen) == (48 if once else 32)
    watch.row(encoder)
    assert watch.features.shape[0] == 32


def test_views_of_as_many_images_as_there_are_where_more_are_asked_for():
    watch, encoder = watched(batch=4, interval=50, monitors={"view_images": 40})
    assert np.isfinite(watch.row(encoder)["alignment"])


def test_the_same_images_whatever_is_kept():
    few, more = (watched(once, batch=4, interval=50)[0] for once in (False, True))
    np.testing.assert_array_equal(more.chosen[:32], few.chosen)

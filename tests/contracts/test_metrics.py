"""What every file in scanloom/metrics must do."""

import numpy as np
import pytest

from scanloom import plugins

NAMES = plugins.names("metrics")


def case(classes: int = 2, n: int = 60):
    rng = np.random.default_rng(classes)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    scores = rng.gamma(1.0, size=(n, classes)) + 0.5 * (labels[:, None] == np.arange(classes))
    return labels, scores / scores.sum(axis=1, keepdims=True), rng.integers(1, 4, (4, n))


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name):
    metric = plugins.load("metrics", name)
    assert metric.__doc__
    assert isinstance(metric.NAME, str)
    assert isinstance(metric.HIGHER_IS_BETTER, bool)
    assert metric.RANGE[0] < metric.RANGE[1]


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_certain_and_right_is_best_and_certain_and_wrong_is_worse(name, classes):
    metric, labels = plugins.load("metrics", name), case(classes)[0]
    ones = np.ones((1, len(labels)))
    best = metric.compute(labels, np.eye(classes)[labels], ones)
    worse = metric.compute(labels, np.eye(classes)[(labels + 1) % classes], ones)
    assert best == [metric.RANGE[1] if metric.HIGHER_IS_BETTER else metric.RANGE[0]]
    assert (worse < best) == metric.HIGHER_IS_BETTER


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_a_weight_is_a_number_of_copies(name, classes):
    metric = plugins.load("metrics", name)
    labels, probabilities, weights = case(classes)
    for row in weights:
        copied = metric.compute(np.repeat(labels, row), np.repeat(probabilities, row, 0), np.ones((1, row.sum())))
        np.testing.assert_allclose(metric.compute(labels, probabilities, row[None].astype(float)), copied, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", NAMES)
def test_neither_the_order_of_items_nor_the_scale_of_weights_matters(name, classes):
    metric = plugins.load("metrics", name)
    labels, probabilities, weights = case(classes)
    order = np.random.default_rng(0).permutation(len(labels))
    value = metric.compute(labels, probabilities, weights.astype(float))
    assert value.shape == (len(weights),)
    assert ((metric.RANGE[0] <= value) & (value <= metric.RANGE[1])).all()
    shuffled = metric.compute(labels[order], probabilities[order], 2.5 * weights[:, order])
    np.testing.assert_allclose(value, shuffled, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_defined_says_beforehand_whether_the_plain_value_is_a_number(name):
    metric = plugins.load("metrics", name)
    labels, probabilities, _ = case(3)
    for kept in (labels >= 0, labels > 0, labels == 1):
        value = metric.compute(labels[kept], probabilities[kept], np.ones((1, kept.sum())))
        assert metric.DEFINED(labels[kept], 3) == bool(np.isfinite(value[0]))

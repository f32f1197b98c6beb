"""Each metric against scikit-learn with sample_weight, ties included, for two and for five classes."""

import numpy as np
import pytest
from sklearn import metrics as sk

from scanloom import plugins


def case(classes: int, seed: int, ties: bool, n: int = 90):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    scores = rng.gamma(1.0, size=(n, classes)) + 0.7 * (labels[:, None] == np.arange(classes))
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    if ties and classes == 2:
        p1 = np.round(probabilities[:, 1] * 8) / 8  # eighths: ties within and between classes, and p1 == 0.5
        probabilities = np.stack([1 - p1, p1], axis=1)
    elif ties:
        probabilities = probabilities[rng.integers(0, n // 3, n)]  # whole rows repeat
    return labels, probabilities, rng.integers(0, 4, (6, n)).astype(float)


def scikit_learn(name: str, labels, probabilities, weights) -> float:
    classes = probabilities.shape[1]
    said = (probabilities[:, 1] > 0.5).astype(int) if classes == 2 else probabilities.argmax(axis=1)
    if name == "accuracy":
        return sk.accuracy_score(labels, said, sample_weight=weights)
    if name == "balanced_accuracy":
        return sk.balanced_accuracy_score(labels, said, sample_weight=weights)
    if name == "brier":
        scores = probabilities[:, 1] if classes == 2 else probabilities
        return sk.brier_score_loss(labels, scores, sample_weight=weights, labels=list(range(classes)))
    of = {"auroc": sk.roc_auc_score, "auprc": sk.average_precision_score}[name]
    if classes == 2:
        return of(labels, probabilities[:, 1], sample_weight=weights)
    return np.mean([of(labels == k, probabilities[:, k], sample_weight=weights) for k in range(classes)])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", ["accuracy", "auprc", "auroc", "balanced_accuracy", "brier"])
def test_equals_scikit_learn_under_every_row_of_weights(name, classes, ties):
    for seed in range(5):
        labels, probabilities, weights = case(classes, seed, ties)
        ours = plugins.load("metrics", name).compute(labels, probabilities, weights)
        theirs = [scikit_learn(name, labels, probabilities, row) for row in weights]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_auroc_of_four_items_by_hand():
    """Pairs (positive, negative): .8>.3, .8>.5, .5>.3, .5=.5 -> (1 + 1 + 1 + 1/2) / 4."""
    p1 = np.array([0.3, 0.5, 0.5, 0.8])
    value = plugins.load("metrics", "auroc").compute(np.array([0, 0, 1, 1]), np.stack([1 - p1, p1], 1), np.ones((1, 4)))
    assert value.tolist() == [3.5 / 4]


def test_a_probability_of_exactly_one_half_is_the_first_class():
    halves = np.full((3, 2), 0.5)
    assert plugins.load("metrics", "accuracy").compute(np.array([0, 0, 1]), halves, np.ones((1, 3))) == [2 / 3]


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["auprc", "auroc", "balanced_accuracy"])
def test_a_class_that_vanished_from_a_resample_gives_nan_and_never_a_number(name, classes):
    labels, probabilities, weights = case(classes, 1, ties=False)
    for gone in range(classes):
        rows = np.stack([weights[0], weights[0] * (labels != gone)])
        value = plugins.load("metrics", name).compute(labels, probabilities, rows)
        assert np.isfinite(value[0])
        assert np.isnan(value[1])


@pytest.mark.parametrize("name", ["accuracy", "brier"])
def test_accuracy_and_brier_need_no_class_but_some_weight(name):
    labels, probabilities, weights = case(2, 1, ties=False)
    rows = np.stack([weights[0] * (labels == 1), np.zeros(len(labels))])
    value = plugins.load("metrics", name).compute(labels, probabilities, rows)
    assert np.isfinite(value[0])
    assert np.isnan(value[1])

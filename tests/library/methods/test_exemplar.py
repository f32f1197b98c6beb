"""The triplet loss is its formula, its margin can be met, and an image is never its own negative."""

import keras
import numpy as np
import pytest

from scanloom.methods import exemplar
from scanloom.methods.exemplar import triplet_loss

RNG = np.random.default_rng(0)


def by_loops(anchor, positive, other, margin, negatives):
    """The docstring's formula in float64, one triplet after the other."""
    anchor, positive = (z.astype(np.float64) / np.linalg.norm(z, axis=1, keepdims=True) for z in (anchor, positive))
    size, losses = len(anchor), []
    for i in range(size):
        own = ((anchor[i] - positive[i]) ** 2).sum()
        far = {j: ((anchor[i] - positive[j]) ** 2).sum() for j in range(size) if j != i}
        if negatives == "hardest":
            far = {0: min(far.values())}
        elif negatives == "random":
            far = {0: far[(i + 1 + int(other[i] * (size - 1))) % size]}
        violations = own - np.array(list(far.values()))
        losses.append((np.log1p(np.exp(violations)) if margin is None else np.maximum(0, violations + margin)).mean())
    return np.mean(losses)


@pytest.mark.parametrize("negatives", ["all", "hardest", "random"])
@pytest.mark.parametrize("margin", [0.5, 1.5, None])
def test_loss_equals_the_formula_triplet_by_triplet(negatives, margin):
    anchor = RNG.normal(size=(9, 5)).astype(np.float32)
    positive = (anchor + RNG.normal(size=(9, 5))).astype(np.float32)
    other = RNG.random(9, np.float32)
    found = float(triplet_loss(anchor, positive, other, margin, negatives))
    assert found == pytest.approx(by_loops(anchor, positive, other, margin, negatives), rel=1e-5)


@pytest.mark.parametrize("negatives", ["all", "hardest", "random"])
def test_the_margin_can_be_met(negatives):
    """As found, a sigmoid code and a mean distance below 1 could never meet a margin of 1 (seed-systems.md 5.2)."""
    apart = 3.0 * np.eye(6, dtype=np.float32)
    assert float(triplet_loss(apart, apart, RNG.random(6, np.float32), 1.9, negatives)) == 0.0


@pytest.mark.parametrize("negatives", ["all", "hardest", "random"])
def test_a_collapsed_embedding_costs_the_margin(negatives):
    same = np.full((6, 4), 0.3, np.float32)
    assert float(triplet_loss(same, same, RNG.random(6, np.float32), 0.5, negatives)) == pytest.approx(0.5, abs=1e-5)


def test_the_drawn_negative_is_never_the_image_itself_whatever_is_drawn():
    # Were it the image itself, its distance would be 0 and the violation the margin.
    for size in (2, 3, 7, 64):
        apart = np.eye(size, dtype=np.float32)
        for other in (0.0, 0.5, 1 - 2.0**-24):
            draw = np.full(size, other, np.float32)
            assert float(triplet_loss(apart, apart, draw, 1.0, "random")) == 0.0


def test_all_other_images_are_drawn_equally_often():
    size, count = 5, np.zeros(4)
    for other in RNG.random(2000, np.float32):
        count[int(np.floor(other * np.float32(size - 1)))] += 1
    assert np.abs(count - 500).max() < 5 * np.sqrt(500)


def test_a_batch_of_one_has_no_negative():
    with pytest.raises(ValueError, match="batch of at least 2"):
        exemplar.draw(lambda *size: np.zeros((1, *size)), exemplar.Settings(), (8, 8, 1))


def test_embeddings_are_not_squashed():
    from scanloom.methods._projector import projector

    layers = projector(8, (16, 4), 0).layers
    assert isinstance(layers[-1], keras.layers.Dense)
    assert layers[-1].activation is keras.activations.linear

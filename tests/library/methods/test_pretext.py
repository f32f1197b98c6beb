"""The loss of a question with one right answer is cross-entropy, its accuracy the share of right answers."""

import keras
import method_trials as trials
import numpy as np
import pytest
from scipy.special import log_softmax

from scanloom.images.intensity import to_unit
from scanloom.methods._pretext import answer_correct, answer_head, answer_loss
from scanloom.training.branches import METHOD_PREFIX, of_method

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(12,), (4, 3)])
def test_loss_is_the_mean_negative_log_probability_of_the_answer(shape):
    logits = RNG.normal(0, 3, (12, 5)).astype(np.float32)
    answers = RNG.integers(0, 5, shape).astype(np.int32)
    batch = {METHOD_PREFIX + "turn": answers}
    expected = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(12), answers.ravel()].mean()
    assert float(answer_loss("turn")(logits, batch)) == pytest.approx(expected, rel=1e-5)
    right = keras.ops.convert_to_numpy(answer_correct("turn")(logits, batch))
    assert np.array_equal(right, (logits.argmax(axis=1) == answers.ravel()).astype(np.float32))


def test_layers_before_the_flattening_treat_every_part_alike():
    head = answer_head(3, 4, (8,), (), 5, seed=0)
    hidden = keras.Model(head.input, head.get_layer(index=3).output)
    part = RNG.normal(size=4).astype(np.float32)
    found = keras.ops.convert_to_numpy(hidden(np.tile(part, (2, 3, 1))))
    assert found.shape == (2, 3, 8)
    assert np.ptp(found, axis=1).max() == 0


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", ["jigsaw", "relative_patch_location", "cpc", "rotation", "rotation, several"])
def test_a_method_says_how_many_parts_of_an_image_it_shows_the_encoder(name, rank):
    method, settings, _ = trials.parts_of_case(name, rank)
    model, _ = trials.make(name, rank)
    batch = trials.batch_at(name, rank, 0)
    parts = model._parts_of(to_unit(batch["images"]), of_method(batch))
    shown = parts.shape[0] * parts.shape[1] // len(batch["images"])
    assert method.parts_per_image(settings, trials.SHAPES[rank]) == shown

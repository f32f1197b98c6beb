"""Both losses are their formulas, the context is a pyramid that sees nothing below, rows are predicted."""

import keras
import numpy as np
import pretext_toys
import pytest
from scipy.special import expit, log_softmax

from scanloom.methods import cpc
from scanloom.methods._context import context_head, pyramid_cells
from scanloom.methods.cpc import Settings, binary_loss, grid_of, infonce, recognised

RNG = np.random.default_rng(0)


def outputs_of(steps=2, batch=3, across=(4,), size=8, rows=3):
    """Predictions and answers of some steps, a row fewer at each step."""
    return tuple(
        [RNG.normal(size=(batch, rows - k, *across, size)).astype(np.float32) for k in range(steps)] for _ in range(2)
    )


@pytest.mark.parametrize("across", [(4,), (2, 3)])
def test_infonce_equals_scipys_log_softmax_over_all_places_of_the_batch(across):
    outputs = outputs_of(across=across)
    expected = []
    for prediction, answer in zip(*outputs, strict=True):
        y, z = (values.reshape(-1, 8).astype(np.float64) for values in (prediction, answer))
        expected.append(-np.diagonal(log_softmax(y @ z.T / np.sqrt(8), axis=1)).mean())
    assert float(infonce(*outputs)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_predictions_without_information_cost_the_logarithm_of_the_choices():
    outputs = [np.zeros((3, 2, 4, 8), np.float32)], [RNG.normal(size=(3, 2, 4, 8)).astype(np.float32)]
    assert float(infonce(*outputs)) == pytest.approx(np.log(3 * 2 * 4), rel=1e-6)


def test_binary_loss_equals_its_formula():
    outputs = outputs_of()
    other = RNG.random((3, 8), np.float32)
    found = float(binary_loss(*outputs, other))
    common = [
        [values[:, :2].reshape(24, 8).astype(np.float64) for values in pair] for pair in zip(*outputs, strict=True)
    ]
    negative = [(i + 1 + int(u * 23)) % 24 for i, u in enumerate(other.ravel())]
    assert all(i != j for i, j in enumerate(negative))
    right = np.mean([(y * z).mean(axis=1) for y, z in common], axis=0)
    wrong = np.mean([(y * z[negative]).mean(axis=1) for y, z in common], axis=0)
    expected = (-np.log(expit(right)).mean() - np.log(1 - expit(wrong)).mean()) / 2
    assert found == pytest.approx(expected, rel=1e-5)


def test_recognised_counts_answers_with_the_highest_score():
    answer = np.eye(4, dtype=np.float32).reshape(1, 2, 2, 4)
    swapped = answer.reshape(4, 4)[[1, 0, 2, 3]].reshape(1, 2, 2, 4)
    found = keras.ops.convert_to_numpy(recognised([answer, swapped], [answer, answer]))
    assert found.tolist() == [1, 1, 1, 1, 0, 0, 1, 1]


@pytest.mark.parametrize(("rank", "rows", "patches"), [(2, 2, 4), (2, 3, 9), (3, 2, 10)])
def test_the_pyramid_has_the_ancestors_number_of_patches(rank, rows, patches):
    """seed-systems.md 5.2: 4 or 9 patches of context in images, 10 in volumes."""
    assert pyramid_cells((5,) * rank, rows).shape == (5**rank, patches)


@pytest.mark.parametrize("context", ["convolution", "gru"])
@pytest.mark.parametrize("shape", [(5, 5), (4, 3, 3)])
def test_a_prediction_sees_the_pyramid_above_it_and_nothing_else(context, shape):
    settings = Settings(context=context, context_rows=2, steps=1, code=8, target=4)
    head = context_head(settings, shape, 0, 6, seed=0)
    patches = int(np.prod(shape))
    # Image 0 is the reference; in image 1 + k patch k is another one.
    features = np.repeat(RNG.normal(size=(1, patches, 6)), 1 + patches, axis=0).astype(np.float32)
    features[np.arange(1, 1 + patches), np.arange(patches)] += 1.0
    prediction = keras.ops.convert_to_numpy(head(features)["predictions"][0])
    places = prediction.shape[1] * int(np.prod(shape[1:]))
    changed = np.abs(prediction - prediction[:1]).max(axis=-1).reshape(1 + patches, places)[1:] > 1e-6
    for place in range(places):
        r, *across = np.unravel_index(place, shape)
        for patch in range(patches):
            row, *other = np.unravel_index(patch, shape)
            back = r - row
            inside = 0 <= back < 2 and all(abs(a - b) <= back for a, b in zip(across, other, strict=True))
            # A convolution's rectifier may hide a patch, so what is in the pyramid is asked of the recurrent one only.
            assert not changed[patch, place] or inside
            assert changed[patch, place] or not inside or context == "convolution"


def test_the_convolutions_reach_all_of_the_pyramid():
    settings = Settings(context_rows=3, steps=1, code=32, target=4)
    head = context_head(settings, (5, 5), 0, 6, seed=0)
    features = np.repeat(RNG.normal(size=(1, 25, 6)), 26, axis=0).astype(np.float32)
    features[np.arange(1, 26), np.arange(25)] += 1.0
    prediction = keras.ops.convert_to_numpy(head(features)["predictions"][0])
    changed = np.abs(prediction - prediction[:1]).max(axis=-1)[1:] > 1e-6
    seen = set(np.flatnonzero(changed[:, 3, 2]))
    assert seen == set(pyramid_cells((5, 5), 3)[3 * 5 + 2])


@pytest.mark.parametrize("shape", [(64, 64, 1), (28, 28, 3), (16, 16, 16, 1)])
def test_predicted_patches_share_no_pixel_with_the_context(shape):
    grid, per_side, skip = grid_of(Settings(jitter=0.2), shape)
    window = grid.patch[0] + grid.room[0]
    first = grid.corners[:: grid.cells // per_side, 0]
    assert (first[skip + 1 :] - first[: -skip - 1] >= window).all()


def test_impossible_grids_are_errors_that_say_what_to_change():
    with pytest.raises(ValueError, match="set skip to 1 or more"):
        grid_of(Settings(skip=0), (64, 64, 1))
    with pytest.raises(ValueError, match="per_side must be at least 7"):
        grid_of(Settings(steps=5), (64, 64, 1))
    with pytest.raises(ValueError, match="Use larger images"):
        grid_of(Settings(), (5, 5, 1))


def columns_at(shape):
    """Images in which every column of patches has a colour of its own from top to bottom."""

    def images_at(step):
        colours = np.random.default_rng(step).integers(0, 256, (16, 1, *(4,) * (len(shape) - 2), 3), np.uint8)
        for axis, size in enumerate(shape[:-1], start=1):
            colours = colours.repeat(size // colours.shape[axis], axis)
        return colours

    return images_at


PLAIN = {"per_side": 4, "overlap": 0, "normalise": False, "intensity_jitter": 0, "code": 16, "target": 16}


def test_columns_that_go_on_below_are_recognised_in_volumes():
    found = pretext_toys.after_training(
        cpc, Settings(**PLAIN, context_rows=2, jitter=0), columns_at((8, 8, 8, 3)), updates=60, rate=0.02
    )
    assert found["accuracy"] > 4 / (16 * 3 * 4 * 4)


def test_the_recurrent_binary_form_tells_answers_from_others_better_than_chance():
    settings = Settings(**PLAIN, loss="binary", context="gru", context_rows=2, jitter=0)
    found = pretext_toys.after_training(cpc, settings, columns_at((8, 8, 3)), updates=60, rate=0.02)
    assert found["loss"] < 0.9 * np.log(2)

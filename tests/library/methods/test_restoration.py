"""Distortions are what they say: curves monotone, shuffles permutations within windows, painting where drawn."""

import numpy as np
import pytest

from scanloom import plugins
from scanloom.methods import restoration
from scanloom.methods.restoration import Settings, curves, on_curve, painted, shuffled
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of

RNG = np.random.default_rng(0)
SHAPES = [(16, 20, 3), (8, 10, 12, 1)]


def drawn(shape, count=200, **settings):
    found = draws(restoration, Settings(**settings), Pipeline([], shape), 1, 0, keys_of(range(count)))
    return {name.removeprefix("method:"): values for name, values in found.items()}


def bezier(grey, x1, y1, x2, y2):
    """y of a cubic Bezier curve whose x rises, by bisection for t."""
    low, high = 0.0, 1.0
    for _ in range(60):
        t = (low + high) / 2
        x = 3 * t * (1 - t) ** 2 * x1 + 3 * t**2 * (1 - t) * x2 + t**3
        low, high = (t, high) if x < grey else (low, t)
    return 3 * t * (1 - t) ** 2 * y1 + 3 * t**2 * (1 - t) * y2 + t**3


def test_curves_are_the_bezier_curves_where_these_are_monotone():
    control = np.array([[0.2, 0.6, 0.7, 0.8]])
    grey = np.linspace(0, 1, 256)
    expected = [bezier(value, *control[0]) for value in grey]
    assert np.allclose(curves(control, np.array([False]))[0], expected, atol=2e-3)


def test_every_curve_is_monotone_spans_all_greys_and_half_fall():
    control, falling = RNG.random((300, 4)), RNG.random(300) < 0.5
    found = curves(control, falling)
    steps = np.diff(found, axis=1)
    assert (steps[~falling] >= 0).all()
    assert (steps[falling] <= 0).all()
    assert np.allclose(found[:, 0], falling)
    assert np.allclose(found[:, -1], ~falling)


def test_images_go_through_their_curve_as_by_numpy_interpolation():
    images = RNG.random((5, 6, 4, 2)).astype(np.float32)
    images[0, 0, 0] = 0, 1
    table = curves(RNG.random((5, 4)), np.arange(5) < 2).astype(np.float32)
    found = np.asarray(on_curve(images, table))
    for image, curve, result in zip(images, table, found, strict=True):
        assert np.allclose(result, np.interp(image, np.linspace(0, 1, 256), curve), atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shuffle_is_a_permutation_within_small_windows(shape):
    """Each pixel carries its own position; windows go on at the opposite border, so distances are taken around."""
    spatial = shape[:-1]
    where = np.stack(np.indices(spatial), axis=-1).astype(np.float32)[None].repeat(6, axis=0)
    draw = drawn(shape, 6, shuffle=1.0)
    tables = restoration._shuffle_tables(spatial, 0.1)
    moved = np.asarray(shuffled(where, draw["table"], draw["place"], tables))
    for image in moved:
        assert len(np.unique(image.reshape(-1, len(spatial)), axis=0)) == np.prod(spatial)
    distance = np.abs(moved - where)
    distance = np.minimum(distance, np.array(spatial) - distance)
    assert distance.max() <= restoration.SHUFFLE_ROUNDS * (2 - 1)
    assert 0.1 < (distance.max(axis=-1) > 0).mean() < 0.99
    still = shuffled(where, np.full(6, -1, np.int32), draw["place"], tables)
    assert np.array_equal(still, where)


@pytest.mark.parametrize("shape", SHAPES)
def test_paint_covers_the_windows_or_all_but_them(shape):
    draw = drawn(shape, 60, paint=1.0, outside=0.5)
    images = np.full((60, *shape), 2.0, np.float32)
    over = np.asarray(painted(images, draw)) != 2
    for i in range(60):
        expected = np.zeros(shape[:-1], bool)
        for low, high in zip(draw["low"][i], draw["high"][i], strict=True):
            expected[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = True
        assert np.array_equal(over[i, ..., 0], expected if draw["paint"][i] == 1 else ~expected)
    noise = np.asarray(painted(images, draw))[over]
    assert abs(noise.mean() - 0.5) < 0.02
    assert abs(noise.std() - np.sqrt(1 / 12)) < 0.02


def test_distortions_come_with_the_published_probabilities():
    shape, count = (64, 64, 1), 4000
    draw = drawn(shape, count)
    identity = np.abs(draw["curve"] - np.linspace(0, 1, 256)).max(axis=1) < 1e-6
    rates = {
        "curve": (~identity).mean(),
        "shuffle": (draw["table"] >= 0).mean(),
        "paint": (draw["paint"] > 0).mean(),
        "outside": (draw["paint"] == 2).sum() / (draw["paint"] > 0).sum(),
    }
    expected = {"curve": 0.9, "shuffle": 0.5, "paint": 0.9, "outside": 0.8}
    for name, rate in rates.items():
        assert abs(rate - expected[name]) < 0.03, name


def test_windows_have_the_published_sizes_and_stay_off_the_border():
    """Authors' code at 64 pixels: inside randint(10, 21), outside 64 - randint(27, 36), 3 from the border."""
    draw = drawn((64, 64, 1), 2000, paint=1.0)
    size = draw["high"] - draw["low"]
    there = size[..., 0] > 0
    for mode, least, most in ((1, 10, 21), (2, 28, 37)):
        chosen = there & (draw["paint"] == mode)[:, None]
        assert size[chosen].min() == least
        assert size[chosen].max() == most
        assert draw["low"][chosen].min() == 3
        assert draw["high"][chosen].max() == 61
    assert there[draw["paint"] == 2, 0].all()
    counts = there[draw["paint"] == 1].sum(axis=1)
    assert abs((counts == 5).mean() - 0.95**5) < 0.06


def test_the_loss_is_the_mean_squared_error_of_the_whole_image():
    """Models Genesis, equation 1: the undistorted image is what is wanted, everywhere."""
    small_cnn, shape = plugins.load("encoders", "small_cnn"), (8, 8, 3)
    encoder = small_cnn.build(small_cnn.Settings(width=2, stages=(1,)), shape, seed=0)
    model = restoration.build(encoder, Settings(decoder_width=1), Pipeline([], shape), 0)
    images = RNG.integers(0, 256, (4, *shape), np.uint8)
    batch = {"images": images} | draws(restoration, Settings(), Pipeline([], shape), 1, 0, keys_of(range(4)))
    wanted, decoded = model(batch, training=True)
    assert np.allclose(wanted, images / 255, atol=1e-6)
    expected = np.mean((np.asarray(decoded, np.float64) - images / 255) ** 2)
    assert np.isclose(float(model.compute_loss(batch, None, (wanted, decoded))), expected, rtol=1e-5)


@pytest.mark.parametrize("spatial", [(128, 112, 128), (112, 144, 160)])
def test_large_volumes_with_a_single_table_are_shuffled_along_every_axis(spatial):
    [table] = restoration._shuffle_tables(spatial, 0.1)
    assert np.array_equal(np.sort(table), np.arange(np.prod(spatial)))
    there, here = np.array(np.unravel_index(table, spatial)), np.indices(spatial).reshape(3, -1)
    assert (np.abs(there - here).max(axis=1) >= 1).all()

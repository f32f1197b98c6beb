"""Generators of every size and rank, against discriminators of the same."""

import keras
import numpy as np
import pytest

from scanloom.methods import gan
from scanloom.methods._discriminator import own_trunk
from scanloom.methods._game import networks
from scanloom.methods._generator import generator


@pytest.mark.parametrize("kind", ["dcgan", "residual"])
@pytest.mark.parametrize("shape", [(16, 16, 1), (17, 20, 3), (8, 9, 12, 2), (5, 3, 1)])
def test_images_of_any_size_span_nought_to_one_and_differ_with_the_noise(kind, shape):
    model = generator(kind, (1.0,) * 6, shape, width=2, seed=0)
    images = np.asarray(model(np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)))
    assert images.shape == (3, *shape)
    assert 0 < images.min() < images.max() < 1
    assert np.abs(images[0] - images[1]).max() > 1e-3


@pytest.mark.parametrize(("kind", "deviation"), [("dcgan", 0.1), ("residual", 1.0)])
@pytest.mark.parametrize("shape", [(32, 32, 1), (32, 32, 3), (8, 16, 8, 2)])
def test_no_pixel_starts_black_or_white(kind, deviation, shape):
    model = generator(kind, (1.0,) * 16, shape, width=16, seed=0)
    images = np.asarray(model(np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32), training=True))
    logits = np.log(images / (1 - images.astype(np.float64)))
    assert 0.5 * deviation < logits.std() < 2 * deviation
    assert ((images < 0.01) | (images > 0.99)).mean() < 0.01


@pytest.mark.parametrize("kind", ["dcgan", "residual"])
@pytest.mark.parametrize(("shape", "doublings"), [((64, 64, 1), 4), ((512, 512, 1), 7), ((64, 64, 64, 1), 4)])
def test_published_sizes_have_as_many_doublings_as_their_discriminator_has_halvings(kind, shape, doublings):
    names = [layer.name for layer in generator(kind, (1.0,) * 4, shape, width=1, seed=0).layers[2].layers]
    assert sum(name in names for name in [f"up{i}" for i in range(9)] + [f"block{i}_up" for i in range(9)]) == doublings
    trunk = own_trunk(kind, 1, None, shape, seed=0)
    assert trunk.get_layer("feature_map").output.shape[1:-1] == (4,) * (len(shape) - 1)


def test_a_doubling_repeats_places_and_a_shortcut_alone_keeps_them():
    """With every second convolution zero a residual generator is nearest neighbours of its start."""
    model = generator("residual", (1.0,) * 4, (16, 16, 1), width=3, seed=0)
    body = model.layers[2]
    for name in ("block0_conv2", "block1_conv2"):
        layer = body.get_layer(name)
        layer.set_weights([np.zeros_like(weight) for weight in layer.get_weights()])
    inner = keras.Model(body.input, body.get_layer("block0_out").output)
    found = np.asarray(inner(np.ones((1, 4), np.float32)))
    assert found.shape == (1, 16, 16, 3)
    starts = found[:, ::4, ::4]
    assert np.allclose(found, starts.repeat(4, axis=1).repeat(4, axis=2), rtol=1e-5)
    assert np.ptp(starts) > 1


@pytest.mark.parametrize("regressor", ["independent", "encoder"])
def test_the_seed_decides_every_network_and_no_two_start_alike(regressor):
    settings = gan.Settings(latent=3, network_width=2, regressor=regressor)
    trunk = own_trunk("dcgan", 2, None, (16, 16, 1), seed=0)
    one, again, other = (networks(trunk, settings, (16, 16, 1), seed, None) for seed in (0, 0, 1))
    made = "reader" if regressor == "independent" else "trunk"
    for name in ("heads", "generator", made, "reader_heads"):
        first, second, third = (nets[name].get_weights() for nets in (one, again, other))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(first, third, strict=True))
    assert not np.array_equal(one["reader"].get_weights()[0], one["trunk"].get_weights()[0])


def test_sizes_that_cannot_be_halved_are_named():
    for shape in ((18, 17, 1), (1, 8, 1)):
        with pytest.raises(ValueError, match=r"their edges must be even; use the steps"):
            own_trunk("dcgan", 2, None, shape, seed=0)


@pytest.mark.parametrize("kind", ["dcgan", "residual"])
@pytest.mark.parametrize(("edge", "map_edge"), [(8, 4), (36, 9), (100, 25), (18, 9), (2, 1)])
def test_a_trunk_of_its_own_halves_images_as_often_as_they_can_be(kind, edge, map_edge):
    trunk = own_trunk(kind, 1, None, (edge, edge, 1), seed=0)
    assert trunk.get_layer("feature_map").output.shape[1:-1] == (map_edge, map_edge)

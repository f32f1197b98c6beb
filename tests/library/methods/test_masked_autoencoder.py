"""Blocks are hidden from the encoder, and only they count."""

from contextlib import nullcontext

import keras
import numpy as np
import pytest

from scanloom import plugins
from scanloom.encoders import vit
from scanloom.methods import masked_autoencoder
from scanloom.methods.masked_autoencoder import Settings, blocks, hidden_error, normalised_blocks
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("spatial", "size"), [((28, 28), 4), ((64, 64), 8), ((224, 224), 32), ((16, 16), 2), ((8, 8, 8), 2)]
)
def test_blocks_are_powers_of_two_near_a_seventh(spatial, size):
    found, counts = blocks(Settings(), (*spatial, 1))
    assert found == (size,) * len(spatial)
    assert all(count * size >= length for count, length in zip(counts, spatial, strict=True))


def test_images_of_one_block_are_refused():
    with pytest.raises(ValueError, match=r"one block of \(8, 8\).*Lower `block`"):
        blocks(Settings(block=9), (8, 8, 1))


@pytest.mark.parametrize("shape", [(13, 10, 1), (8, 6, 5, 2)])
def test_every_image_has_its_share_of_hidden_blocks_and_they_differ(shape):
    settings = Settings(hidden_share=0.6, block=3)
    drawn = draws(masked_autoencoder, settings, Pipeline([], shape), 1, 0, keys_of(range(20)))["method:hidden"]
    _, counts = blocks(settings, shape)
    assert drawn.shape == (20, *counts)
    assert set(drawn.reshape(20, -1).sum(1)) == {round(0.6 * np.prod(counts))}
    assert len(np.unique(drawn.reshape(20, -1), axis=0)) > 15


def test_loss_is_the_mean_over_hidden_pixels_and_ignores_visible_ones():
    wanted, decoded = RNG.random((2, 3, 6, 4, 2)).astype(np.float32)
    hidden = RNG.random((3, 6, 4, 1)) < 0.5
    expected = ((decoded - wanted).astype(np.float64) ** 2)[np.repeat(hidden, 2, axis=-1)].mean()
    mask = hidden.astype(np.float32)
    assert np.isclose(float(hidden_error(wanted, decoded, mask)), expected, rtol=1e-5)
    changed = np.where(hidden, decoded, decoded + 7)
    assert float(hidden_error(wanted, changed, mask)) == float(hidden_error(wanted, decoded, mask))


def test_normalised_blocks_have_mean_0_and_variance_1_also_where_the_image_ends():
    images = RNG.random((2, 7, 4, 1)).astype(np.float32)
    found = np.asarray(normalised_blocks(images, (3, 2)))
    for rows in (slice(0, 3), slice(3, 6), slice(6, 7)):
        for columns in (slice(0, 2), slice(2, 4)):
            block = images[:, rows, columns].astype(np.float64)
            expected = (block - block.mean((1, 2), keepdims=True)) / np.sqrt(block.var((1, 2), keepdims=True) + 1e-4)
            assert np.allclose(found[:, rows, columns], expected, atol=1e-4)


def test_the_loss_of_normalised_blocks_is_the_papers():
    """norm_pix_loss of He et al.: hidden blocks are compared after taking their own mean and deviation out."""
    small_cnn, shape = plugins.load("encoders", "small_cnn"), (8, 8, 1)
    encoder = small_cnn.build(small_cnn.Settings(width=2, stages=(1,)), shape, seed=0)
    settings = Settings(decoder_width=1, block=4, normalise=True)
    made = masked_autoencoder.build(encoder, settings, Pipeline([], shape), 0)
    wanted, decoded = RNG.random((2, 3, *shape)).astype(np.float32)
    hidden = np.array([[[True, False], [False, True]]] * 3)
    errors = []
    for rows, columns in ((slice(0, 4), slice(0, 4)), (slice(4, 8), slice(4, 8))):
        block = wanted[:, rows, columns].astype(np.float64)
        block = (block - block.mean((1, 2), keepdims=True)) / np.sqrt(block.var((1, 2), keepdims=True) + 1e-4)
        errors.append((decoded[:, rows, columns] - block) ** 2)
    found = float(made.compute_loss({"method:hidden": hidden}, None, (wanted, decoded)))
    assert np.isclose(found, np.mean(errors), rtol=1e-5)


@pytest.fixture(scope="module")
def model():
    resnet, shape = plugins.load("encoders", "resnet"), (9, 8, 1)
    encoder = resnet.build(resnet.Settings(depth=10, width=4), shape, seed=0)
    made = masked_autoencoder.build(encoder, Settings(decoder_width=2, block=4), Pipeline([], shape), 0)
    made.damage.token.assign(RNG.random((4, 4, 1)))
    return made


def test_hidden_blocks_are_the_learnt_block_and_the_rest_is_the_image(model):
    images = RNG.random((2, 9, 8, 1)).astype(np.float32)
    hidden = np.zeros((2, 3, 2), bool)
    hidden[0, 1, 0] = hidden[1, 2, 1] = True
    seen = np.asarray(model.damage(images, {"hidden": hidden}))
    token, expected = np.asarray(model.damage.token), images.copy()
    expected[0, 4:8, :4], expected[1, 8:, 4:] = token, token[:1]
    assert np.array_equal(seen, expected)


def test_what_is_hidden_does_not_reach_the_decoder(model):
    images = RNG.integers(0, 256, (2, 9, 8, 1), np.uint8)
    hidden = RNG.random((2, 3, 2)) < 0.5
    others = images.copy()
    others[hidden.repeat(4, axis=1).repeat(4, axis=2)[:, :9]] ^= 255
    first, second = (model({"images": given, "method:hidden": hidden}) for given in (images, others))
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])
    assert keras.ops.shape(first[1]) == (2, 9, 8, 1)


def test_blocks_that_cut_through_the_patches_of_a_vit_are_an_error():
    """64 pixels have blocks of 8; a patch of 4 divides them, one of 16 does not."""
    for patch, error in (
        (4, None),
        (16, r"blocks of \(8, 8\) pixels cut .* patches of \(16, 16\).*multiple of the patch"),
    ):
        encoder = vit.build(vit.Settings(patch=patch, width=12, depth=1), (64, 64, 1), 0)
        with nullcontext() if error is None else pytest.raises(ValueError, match=error):
            masked_autoencoder.build(encoder, Settings(decoder_width=4), Pipeline([], (64, 64, 1)), 0)

"""What single encoders promise beyond the contract of all."""

import keras
import numpy as np
import pytest
import small_encoders

from scanloom import plugins
from scanloom.encoders import vit
from scanloom.methods import frozen_25d


def outputs(encoder, names, images):
    model = keras.Model(encoder.input, {name: encoder.get_layer(name).output for name in names})
    found = model(images)
    return [keras.ops.convert_to_numpy(found[name]) for name in names]


def test_unet_shows_one_map_per_level_for_a_decoder():
    encoder = small_encoders.build("unet", (16, 24, 1), settings={"levels": 4, "width": 4})
    maps = outputs(encoder, ["skip1", "skip2", "skip3", "feature_map"], small_encoders.images((16, 24, 1)))
    assert [m.shape[1:] for m in maps] == [(16, 24, 4), (8, 12, 8), (4, 6, 16), (2, 3, 32)]


@pytest.mark.parametrize("rank", [2, 3])
def test_positions_are_those_of_the_masked_autoencoder_paper(rank):
    """Sines and cosines of place * 10000^(-i / n), the same share of the width for each axis, no two places alike."""
    grid, width = (3, 4, 5)[:rank], 26
    found = vit.grid_positions(grid, width)[0].astype(float)
    half = width // (2 * rank)
    place = np.unravel_index(7, grid)
    expected = []
    for axis in range(rank):
        angles = [place[axis] / 10000 ** (i / half) for i in range(half)]
        expected += [*np.sin(angles), *np.cos(angles)]
    assert np.allclose(found[place], expected + [0] * (width - len(expected)), atol=1e-6)
    assert len(np.unique(found.reshape(-1, width).round(6), axis=0)) == np.prod(grid)


def test_vit_attends_as_the_formula_says():
    """One block in NumPy float64: x + W softmax(q k / sqrt(d)) v, then x + W2 gelu(W1 x)."""
    from scipy.special import erf, softmax

    encoder = small_encoders.build("vit", (8, 8, 1), settings={"patch": 4, "width": 12, "heads": 3, "depth": 1})
    before, found = outputs(encoder, ["patches", "tokens"], small_encoders.images((8, 8, 1)))
    w = {v.path: keras.ops.convert_to_numpy(v.value).astype(float) for v in encoder.variables}

    def norm(x):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)

    x = before.astype(float)
    q, k, v = (
        np.einsum("btd,dhe->bhte", norm(x), w[f"block1_attention/{n}/kernel"]) for n in ("query", "key", "value")
    )
    mixed = softmax(q @ np.swapaxes(k, -1, -2) / np.sqrt(4), axis=-1) @ v
    x = x + np.einsum("bhte,hed->btd", mixed, w["block1_attention/attention_output/kernel"])
    hidden = norm(x) @ w["block1_dense1/kernel"]
    x = x + hidden * (1 + erf(hidden / np.sqrt(2))) / 2 @ w["block1_dense2/kernel"]
    assert np.allclose(found, norm(x), atol=1e-4)


def test_the_features_of_a_class_token_are_its_last_state():
    settings = {"patch": 4, "width": 12, "heads": 3, "depth": 1, "pooling": "class"}
    encoder = small_encoders.build("vit", (8, 8, 1), settings=settings)
    tokens, feature_map, features = outputs(
        encoder, ["tokens", "feature_map", "features"], small_encoders.images((8, 8, 1))
    )
    assert tokens.shape == (2, 5, 12)
    assert np.allclose(features, tokens[:, 0], atol=1e-6)
    differences = tokens[:, 1:] - tokens[:, 1:2]
    assert np.allclose(feature_map.reshape(2, 4, 12) - feature_map[:, :1, 0], differences, atol=1e-5)


def test_convnext_blocks_begin_as_almost_nothing():
    encoder = small_encoders.build("convnext", (16, 16, 1))
    assert np.allclose(encoder.get_layer("stage1_block1_scale").kernel, 1e-6)
    before, after = outputs(encoder, ["stem_norm", "stage1_block1_out"], small_encoders.images((16, 16, 1)))
    assert 0 < np.abs(before - after).max() < 1e-4


def test_pre_activation_shortcuts_stay_untouched():
    """arXiv 1603.05027, equation 3: a block adds to its input, with no activation after the sum."""
    encoder = small_encoders.build("resnet", (16, 16, 1), settings={"depth": 18, "width": 4, "version": 2})
    encoder.get_layer("stage1_block1_conv2").kernel.assign(np.zeros((3, 3, 4, 4)))
    before, after = outputs(encoder, ["stem_conv", "stage1_block1_out"], small_encoders.images((16, 16, 1)))
    assert before.min() < 0
    assert np.array_equal(before, after)


@pytest.mark.parametrize("shape", [(8, 8, 8, 1), (8, 6, 4, 1)])
def test_slices_25d_averages_the_2d_features_of_all_slices_of_each_axis(shape):
    network = frozen_25d.own_encoder(
        frozen_25d.Settings(file="any.keras", settings=small_encoders.SETTINGS["resnet"]), shape, 0
    )
    flat = small_encoders.build("resnet", (8, 8, 1), seed=5)
    for variable in network.variables:
        variable.assign(next(v for v in flat.variables if v.path == variable.path).value)
    volume = small_encoders.images(shape)
    missing = [8 - n for n in shape[:3]]
    cube = np.pad(volume, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)])
    expected = [
        np.mean([keras.ops.convert_to_numpy(flat(np.take(cube, i, axis))) for i in range(8)], axis=0)
        for axis in (1, 2, 3)
    ]
    assert np.allclose(network(volume), np.concatenate(expected, axis=1), atol=1e-5)


def test_the_map_of_slices_25d_lies_where_the_volume_does():
    """A bright corner of the volume is brightest in the same corner of all three parts of the map."""
    settings = {"encoder": "small_cnn", "settings": {"width": 2, "stages": (1, 1)}}
    encoder = small_encoders.build("slices_25d", (8, 8, 8, 1), settings=settings)
    for variable in encoder.trainable_variables:
        if variable.path.endswith("kernel"):
            kernel = np.zeros(variable.shape)
            kernel[1, 1] = 1
            variable.assign(kernel)
    volume = np.zeros((1, 8, 8, 8, 1), np.float32)
    volume[0, 6:, :2, 4:6] = 1
    [found] = outputs(encoder, ["feature_map"], volume)
    assert found.shape == (1, 4, 4, 4, 12)
    for part in range(3):
        assert np.unravel_index(found[0, ..., 4 * part].argmax(), (4, 4, 4)) == (3, 0, 2)


def test_a_plug_in_with_one_rank_says_so():
    assert [n for n in plugins.names("encoders") if hasattr(plugins.load("encoders", n), "RANKS")] == [
        "keras_application",
        "slices_25d",
    ]

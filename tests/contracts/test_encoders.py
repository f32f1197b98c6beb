"""Every encoder, whoever adds it: features and feature map at rank 2 and 3, weights decided by the seed."""

import keras
import numpy as np
import pytest

from scanloom import plugins

ENCODERS = plugins.names("encoders")


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("shape", [(16, 16, 1), (16, 16, 3), (8, 8, 8, 1)])
def test_an_encoder_maps_images_to_pooled_features_of_its_feature_map(name, shape):
    module = plugins.load("encoders", name)
    encoder = module.build(module.Settings(), shape, seed=0)
    images = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    both = keras.Model(encoder.input, [encoder.get_layer("feature_map").output, encoder.output])
    feature_map, features = (keras.ops.convert_to_numpy(out) for out in both(images, training=False))
    assert feature_map.ndim == len(shape) + 1
    assert features.shape == (2, feature_map.shape[-1])
    assert features.dtype == np.float32
    assert np.allclose(features, feature_map.mean(axis=tuple(range(1, len(shape)))), rtol=1e-4, atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-4


@pytest.mark.parametrize("name", ENCODERS)
def test_the_seed_decides_the_weights_and_nothing_else_does(name):
    module = plugins.load("encoders", name)
    weights = []
    for disturbance, seed in ((1, 0), (2, 0), (3, 1)):
        keras.utils.set_random_seed(disturbance)
        weights.append(module.build(module.Settings(), (16, 16, 1), seed=seed).get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))

"""Features of images in inference mode."""

import numpy as np
import pytest

from scanloom.downstream.embeddings import embed, inference
from scanloom.images.intensity import to_unit
from scanloom.lazy import keras


@pytest.fixture(scope="module")
def encoder():
    inputs = keras.Input((6, 6, 2))
    flow = keras.layers.Conv2D(3, 3, kernel_initializer=keras.initializers.GlorotUniform(1))(inputs)
    flow = keras.layers.BatchNormalization()(flow)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(name="feature_map")(flow)))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_features_equal_the_encoder_on_unit_images_whatever_the_batch(encoder, dtype):
    images = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (11, 6, 6, 2), dtype)
    expected = np.asarray(encoder((images / np.iinfo(dtype).max).astype(np.float32), training=False))
    for batch in (1, 4, 11, 64):
        features = embed(encoder, lambda rows: images[rows], 11, batch)
        assert features.dtype == np.float32
        assert np.allclose(features, expected, atol=1e-6)


def test_batch_norm_statistics_are_used_and_not_changed(encoder):
    layer = next(layer for layer in encoder.layers if isinstance(layer, keras.layers.BatchNormalization))
    layer.moving_mean.assign([5.0, -1.0, 0.2])
    before = [np.array(v) for v in encoder.get_weights()]
    images = np.random.default_rng(0).integers(0, 255, (5, 6, 6, 2), np.uint8)
    features = embed(encoder, lambda rows: images[rows], 5)
    assert np.allclose(features[:, 0], 0)  # a mean of 5 lies above every activation
    assert all(np.array_equal(a, b) for a, b in zip(before, encoder.get_weights(), strict=True))


def test_inference_sees_new_weights_without_being_built_again(encoder):
    run = inference(encoder)
    images = np.ones((2, 6, 6, 2), np.float32)
    first = run(images)
    encoder.set_weights([2 * w + 0.1 for w in encoder.get_weights()])
    assert not np.allclose(first, run(images))


def test_unit_images_are_the_same_for_arrays_and_tensors_and_end_at_exactly_one():
    for dtype in (np.uint8, np.uint16):
        images = np.array([0, 1, 77, np.iinfo(dtype).max], dtype)
        assert np.array_equal(to_unit(images), np.asarray(to_unit(keras.ops.convert_to_tensor(images))))
        assert to_unit(images)[[0, -1]].tolist() == [0.0, 1.0]


def test_float_images_are_refused():
    with pytest.raises(TypeError, match="images are float32; to_unit takes stored images: uint8, uint16"):
        to_unit(np.zeros(3, np.float32))

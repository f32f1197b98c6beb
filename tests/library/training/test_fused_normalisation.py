"""Fused batch normalisation is Keras' own: outputs, gradients, statistics, and what is saved."""

import keras
import numpy as np
import pytest

from scanloom.training.fused_normalisation import fuse_normalisations, unfused

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow trains with it")
SHAPES = [(20, 5), (4, 6, 3), (3, 6, 4, 3), (2, 4, 3, 5, 2)]


def network(shape, **settings):
    """A convolution of one place and a normalisation, with statistics and scales that are not those of the start."""
    inputs = keras.Input(shape[1:])
    start = keras.initializers.RandomNormal(seed=1)
    mixed = keras.layers.Dense(shape[-1], use_bias=False, kernel_initializer=start)(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="norm", momentum=0.7, **settings)(mixed))
    for variable in model.get_layer("norm").variables:
        variable.assign(np.random.default_rng(len(variable.path)).uniform(0.5, 2.0, variable.shape))
    return model


def step(model, x, weights):
    """(outputs, gradients, statistics afterwards)."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        outputs = model(x, training=True)
        total = tf.reduce_sum(tf.cast(outputs, "float32") ** 2 * weights)
    gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
    return [np.asarray(outputs, np.float32), *map(np.asarray, gradients), *model.get_layer("norm").get_weights()]


def is_fused(layer) -> bool:
    return "call" in vars(layer)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}])
def test_a_training_step_is_that_of_keras(shape, settings):
    rng = np.random.default_rng(0)
    x, weights = (rng.normal(1.0, 2.0, shape).astype(np.float32) for _ in range(2))
    plain, fused = network(shape, **settings), network(shape, **settings)
    fuse_normalisations(fused)
    assert is_fused(fused.get_layer("norm"))
    for theirs, ours in zip(step(plain, x, weights), step(fused, x, weights), strict=True):
        assert np.allclose(ours, theirs, rtol=2e-4, atol=2e-4)
    assert np.array_equal(fused(x, training=False), fused(x))
    assert np.allclose(fused(x, training=False), plain(x, training=False), rtol=1e-4, atol=1e-4)


def test_in_bfloat16_statistics_are_of_float32():
    shape = (4, 8, 8, 3)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    plain, fused = (network(shape, dtype="mixed_bfloat16") for _ in range(2))
    fuse_normalisations(fused)
    for theirs, ours in zip(step(plain, x, 1.0), step(fused, x, 1.0), strict=True):
        assert np.allclose(ours, theirs, rtol=2e-2, atol=2e-2)
    assert fused(x, training=True).dtype == "bfloat16"


def test_what_is_frozen_or_normalises_otherwise_stays_as_it_is():
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    model = network(x.shape)
    fuse_normalisations(model)
    before = model.get_layer("norm").get_weights()
    model.get_layer("norm").trainable = False
    assert np.array_equal(model(x, training=True), model(x, training=False))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_layer("norm").get_weights(), strict=True))
    other = network(x.shape, axis=1)
    fuse_normalisations(other)
    assert not is_fused(other.get_layer("norm"))


def test_a_fused_network_is_saved_as_any_other(tmp_path):
    model = network((2, 4, 4, 3))
    config = model.get_layer("norm").get_config()
    fuse_normalisations(model)
    assert model.get_layer("norm").get_config() == config
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.get_layer("norm")) is keras.layers.BatchNormalization
    assert not is_fused(loaded.get_layer("norm"))


def test_keras_own_operations_can_be_had_for_a_while():
    x = np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype(np.float32)
    plain, fused = network(x.shape), network(x.shape)
    fuse_normalisations(fused)
    with unfused():
        assert np.array_equal(fused(x, training=True), plain(x, training=True))
    assert np.allclose(fused(x, training=True), plain(x, training=True), rtol=1e-4, atol=1e-5)

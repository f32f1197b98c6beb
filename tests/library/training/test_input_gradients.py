"""Gradients of inputs equal derivatives by hand, and can be differentiated once more."""

import keras
import numpy as np
import pytest

from scanloom.training.input_gradients import gradient_of_inputs

X = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)


def test_each_row_has_the_gradient_of_its_own_value():
    found = gradient_of_inputs(lambda x: keras.ops.sum(x**3, axis=(1, 2)), keras.ops.convert_to_tensor(X))
    assert np.allclose(keras.ops.convert_to_numpy(found), 3.0 * X.astype(np.float64) ** 2, rtol=1e-5)


def test_the_gradient_of_a_gradient_is_the_second_derivative():
    def slope(x):
        return keras.ops.sum(gradient_of_inputs(lambda y: keras.ops.sum(keras.ops.sin(y), axis=(1, 2)), x), (1, 2))

    found = gradient_of_inputs(slope, keras.ops.convert_to_tensor(X))
    assert np.allclose(keras.ops.convert_to_numpy(found), -np.sin(X.astype(np.float64)), atol=1e-6)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's moments are what is mended")
@pytest.mark.parametrize("norm", ["BatchNormalization", "LayerNormalization", "GroupNormalization"])
def test_gradients_through_normalisations_can_be_differentiated_again(norm):
    """Against differences of the penalty, whose own gradient needs the first derivative alone, in double precision."""
    import tensorflow as tf

    settings = {"groups": 1} if norm == "GroupNormalization" else {}
    layer = getattr(keras.layers, norm)(dtype="float64", **settings)
    images = tf.constant(np.random.default_rng(1).normal(size=(6, 4, 3)))
    kernel, step = np.random.default_rng(2).normal(size=(3, 5)), np.random.default_rng(3).normal(size=(3, 5))

    def penalty(kernel):
        def score(x):
            return tf.reduce_sum(layer(tf.einsum("npc,cd->npd", x, kernel), training=True) ** 3, axis=(1, 2))

        slopes = tf.sqrt(tf.reduce_sum(gradient_of_inputs(score, images) ** 2, axis=(1, 2)))
        return tf.reduce_mean((slopes - 1.0) ** 2)

    with tf.GradientTape() as tape:
        kernel = tf.Variable(kernel)
        total = penalty(kernel)
    found = np.sum(tape.gradient(total, kernel) * step)
    before, after = (float(penalty(kernel + sign * 1e-6 * step)) for sign in (-1, 1))
    assert np.isclose(found, (after - before) / 2e-6, rtol=1e-5)
    assert tf.nn.moments(images, 0)[0].shape == (4, 3), "TensorFlow has its own again"


def test_another_backend_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(NotImplementedError, match="tensorflow and jax, not for torch"):
        gradient_of_inputs(lambda x: x, X)

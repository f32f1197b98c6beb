"""Gradients of inputs equal derivatives by hand, and can be differentiated once more."""

import keras
import numpy as np
import pytest

from scanloom.input_gradients import gradient_of_inputs

X = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)


def test_each_row_has_the_gradient_of_its_own_value():
    found = gradient_of_inputs(lambda x: keras.ops.sum(x**3, axis=(1, 2)), keras.ops.convert_to_tensor(X))
    assert np.allclose(keras.ops.convert_to_numpy(found), 3.0 * X.astype(np.float64) ** 2, rtol=1e-5)


def test_the_gradient_of_a_gradient_is_the_second_derivative():
    def slope(x):
        return keras.ops.sum(gradient_of_inputs(lambda y: keras.ops.sum(keras.ops.sin(y), axis=(1, 2)), x), (1, 2))

    found = gradient_of_inputs(slope, keras.ops.convert_to_tensor(X))
    assert np.allclose(keras.ops.convert_to_numpy(found), -np.sin(X.astype(np.float64)), atol=1e-6)


def test_another_backend_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(NotImplementedError, match="tensorflow and jax, not for torch"):
        gradient_of_inputs(lambda x: x, X)

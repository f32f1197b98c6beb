"""Compiler and threads of the Keras backend."""

import keras
import numpy as np
import pytest

from scanloom.training.backend import compiles, limit_threads, make_deterministic


def test_tensorflow_trains_as_a_graph_and_jax_compiles(monkeypatch):
    assert compiles() is False
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert compiles() is True


def test_no_threads_is_an_error():
    with pytest.raises(ValueError, match="threads must be at least 1, not 0"):
        limit_threads(0)


def test_sums_are_added_from_left_to_right_whoever_else_reads_their_terms():
    import tensorflow as tf

    make_deterministic()
    terms = [np.full((), value, np.float32) for value in (1.0, 2.0**-24, 2.0**-24)]
    left_to_right = (terms[0] + terms[1]) + terms[2]
    assert left_to_right != (terms[2] + terms[1]) + terms[0]

    def still_read(term):
        return tf.linalg.trace(tf.linalg.matmul(tf.fill((600, 600), term), tf.fill((600, 600), term)))

    @tf.function
    def sum_of(first, second, third):
        # Only the third term is free when the sum begins: AddN would begin with it.
        first, second, third = (tf.exp(tf.math.log(term)) for term in (first, second, third))
        return first + second + third, still_read(first), still_read(second)

    assert [float(sum_of(*map(tf.constant, terms))[0]) for _ in range(20)] == [float(left_to_right)] * 20


def test_gradients_of_tensor_arrays_are_still_summed():
    import tensorflow as tf

    make_deterministic()

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values = tf.TensorArray(tf.float32, 2, clear_after_read=False).unstack(x)
            y = values.read(0) + 2 * values.read(1) + 3 * values.read(0) + values.read(0)
        return tape.gradient(y, x)

    assert gradient(tf.constant([1.0, 2.0])).numpy().tolist() == [5.0, 2.0]


def test_gradients_of_a_tensor_used_often_are_added_in_pairs():
    import tensorflow as tf

    make_deterministic()

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.sin(x) + tf.exp(x) + tf.square(x)
        return tape.gradient(y, x)

    x = np.array([0.5, -1.0], np.float32)
    np.testing.assert_allclose(gradient(tf.constant(x)), np.cos(x) + np.exp(x) + 2 * x, rtol=1e-6)
    made = gradient.get_concrete_function(tf.constant(x)).graph
    assert [op for op in made.get_operations() if op.type == "AddN" and len(op.inputs) > 2] == []

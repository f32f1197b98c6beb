"""First weights have the variance of their papers and depend on seed, model and layer."""

import keras
import numpy as np

from scanloom.initial_weights import initialise


def make(seed, name="net"):
    layers = [keras.Input((8, 8, 16)), keras.layers.Conv2D(64, 3), keras.layers.Conv2D(64, 3), keras.layers.Flatten()]
    return initialise(keras.Sequential([*layers, keras.layers.Dense(200)], name=name), seed)


def test_variances_are_those_of_the_papers():
    first, second, dense = (np.asarray(make(0).layers[i].kernel.value) for i in (0, 1, 3))
    assert np.isclose(first.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)
    assert np.isclose(second.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)
    assert np.isclose(np.abs(dense).max(), 1 / np.sqrt(dense.shape[0]), rtol=0.01)


def test_seed_and_name_decide_the_numbers():
    weights = [np.asarray(make(*args).layers[0].kernel.value) for args in ((0,), (0,), (1,), (0, "other"))]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])
    assert not np.array_equal(weights[0], weights[3])

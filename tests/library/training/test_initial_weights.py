"""First weights have the variance of their papers and depend on seed, model and layer."""

import keras
import numpy as np

from scanloom.training.initial_weights import initialise


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


def test_attention_and_embeddings_have_the_spread_that_the_docstring_says():
    inputs = keras.Input((5, 24))
    places = keras.ops.cast(keras.ops.zeros_like(inputs[:, :, 0]), "int32")
    tokens = keras.layers.Add()([inputs, keras.layers.Embedding(400, 24, name="places")(places)])
    attention = keras.layers.MultiHeadAttention(3, 16, name="attention")
    model = initialise(keras.Model(inputs, attention(tokens, tokens)), 0)
    assert np.isclose(np.asarray(model.get_layer("places").embeddings).std(), 0.02, rtol=0.02)
    kernels = {v.path.split("/")[1]: np.asarray(v) for v in attention.variables if v.path.endswith("kernel")}
    for name, fan_in in (("query", 24), ("key", 24), ("value", 24), ("attention_output", 48)):
        assert np.isclose(np.abs(kernels[name]).max(), fan_in**-0.5, rtol=0.02), name
    assert not np.array_equal(kernels["query"], kernels["key"])


def test_filters_of_groups_count_their_own_outputs_and_patches_are_dense_layers():
    layers = [keras.layers.Conv2D(64, 7, groups=64), keras.layers.DepthwiseConv2D(7), keras.layers.Conv2D(200, 4, 4)]
    model = initialise(keras.Sequential([keras.Input((64, 64, 64)), *layers]), 0)
    grouped, depthwise, patches = (np.asarray(layer.kernel) for layer in model.layers)
    assert np.isclose(grouped.std(), np.sqrt(2 / 49), rtol=0.05)
    assert np.isclose(depthwise.std(), np.sqrt(2 / 49), rtol=0.05)
    assert np.isclose(np.abs(patches).max(), (4 * 4 * 64) ** -0.5, rtol=0.01)


def test_transposed_convolutions_count_the_places_they_write_to():
    model = initialise(keras.Sequential([keras.Input((4, 4, 4, 8)), keras.layers.Conv3DTranspose(32, 4, 2)]), 0)
    assert np.isclose(np.asarray(model.layers[0].kernel).std(), np.sqrt(2 / (64 * 32)), rtol=0.02)


def test_a_scale_per_channel_keeps_its_start_and_models_inside_are_drawn_too():
    scale = keras.layers.EinsumDense("...c,c->...c", (4,), kernel_initializer=keras.initializers.Constant(0.1))
    inside = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4)], name="inside")
    outside = [initialise(keras.Sequential([keras.Input((4,)), scale, inside]), seed) for seed in (0, 0)]
    assert np.allclose(scale.kernel, 0.1)
    start = np.asarray(inside.layers[0].kernel)
    initialise(outside[0], 1)
    assert not np.array_equal(start, inside.layers[0].kernel)

"""The small networks between an encoder's features and a joint-embedding loss."""

from scanloom.lazy import keras

EPSILON = 1e-5


def projector(features: int, sizes: tuple[int, ...], seed: int, name: str = "projector"):
    """[batch, features] -> [batch, sizes[-1]]: Dense-BN-ReLU for each size but the last, then Dense, no biases."""
    from scanloom.training.initial_weights import initialise

    inputs = x = keras.Input((features,), name="features")
    for i, size in enumerate(sizes[:-1], start=1):
        x = keras.layers.Dense(size, use_bias=False, name=f"{name}_dense{i}")(x)
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=EPSILON, name=f"{name}_norm{i}")(x)
        x = keras.layers.Activation("relu", name=f"{name}_relu{i}")(x)
    x = keras.layers.Dense(sizes[-1], use_bias=False, name="embedding")(x)
    return initialise(keras.Model(inputs, x, name=name), seed)


def unit_length(z):
    """Vectors [batch, D] divided by their length."""
    return z / keras.ops.sqrt(keras.ops.sum(keras.ops.square(z), axis=-1, keepdims=True) + 1e-12)

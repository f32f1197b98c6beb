"""Batch normalisation as one operation there and one back, where TensorFlow trains without XLA.

Keras makes it of some ten operations, each of which reads and writes all features of the batch; XLA, and with it JAX,
joins them by itself. Only how a layer computes in training is changed: what it is, holds, saves and predicts stays
Keras' own. What it brings is in benchmarks/README.md ("Training step").
"""

import types
from collections.abc import Iterator
from contextlib import contextmanager

from scanloom.lazy import keras

_NOT_NOW = []


def fuse_normalisations(model) -> None:
    """Let the batch normalisations inside a built `model` train fused; nothing on other backends.

    The same numbers up to rounding: Ioffe & Szegedy, arXiv 1502.03167, algorithm 1, with the variance of the batch,
    not of the population, in the moving average, as in Keras.
    """
    if keras.backend.backend() == "tensorflow":
        for layer in model._flatten_layers():
            if type(layer) is keras.layers.BatchNormalization and _fits(layer):
                layer.call = types.MethodType(_call, layer)


@contextmanager
def unfused() -> Iterator[None]:
    """Keras' own operations for what is traced in this block: the fused one can be differentiated only once."""
    _NOT_NOW.append(True)
    try:
        yield
    finally:
        _NOT_NOW.pop()


def _fits(layer) -> bool:
    plain = layer.built and not (layer.synchronized or getattr(layer, "renorm", False))
    return plain and layer.axis in (-1, layer.input_spec.ndim - 1)


def _call(layer, inputs, training=None, mask=None):
    """Instead of `BatchNormalization.call`."""
    if not (training and layer.trainable) or mask is not None or _NOT_NOW:
        return type(layer).call(layer, inputs, training=training, mask=mask)
    ops = keras.ops
    gamma = layer.gamma if layer.scale else ops.ones_like(layer.moving_mean)
    beta = layer.beta if layer.center else ops.zeros_like(layer.moving_mean)
    outputs, mean, variance = _fused(ops.cast(inputs, "float32"), gamma, beta, layer.epsilon)
    for moving, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + new * (1.0 - layer.momentum))
    return ops.cast(outputs, layer.compute_dtype)


def _fused(x, gamma, beta, epsilon: float):
    """(normalised, mean, variance) of float32 `x` [batch, *places, channels]."""
    import tensorflow as tf

    channels, shape = x.shape[-1], tf.shape(x)
    flat = x if len(x.shape) == 4 else tf.reshape(x, [shape[0], 1, -1, channels])
    made = tf.raw_ops.FusedBatchNormV3(
        x=flat,
        scale=tf.convert_to_tensor(gamma),
        offset=tf.convert_to_tensor(beta),
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=epsilon,
        is_training=True,
    )
    # The operation divides by one less than the number of values, Keras' moving average by the number.
    count = tf.cast(tf.size(x) // channels, tf.float32)
    variance = made.batch_variance * (tf.maximum(count - 1.0, 1.0) / count)
    return tf.reshape(made.y, shape), tf.stop_gradient(made.batch_mean), tf.stop_gradient(variance)

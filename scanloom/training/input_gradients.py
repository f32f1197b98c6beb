"""The gradient of a function with respect to its inputs, inside a training step that is differentiated once more.

Keras has no such function, so this is the one place that asks which backend runs.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from scanloom.lazy import keras
from scanloom.training.fused_normalisation import unfused


def gradient_of_inputs(function: Callable, inputs):
    """d sum(function(inputs)) / d inputs, a tensor like `inputs` that can be differentiated again.

    function: [batch, ...] -> [batch]. Where it judges each row by itself, row n of the result is the gradient of its
    n-th value. It must leave no variable changed: under JAX what it assigns belongs to its inside alone. Raises
    NotImplementedError for backends other than TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with unfused(), _exact_moments(tf), tf.GradientTape() as tape:
            tape.watch(inputs)
            total = keras.ops.sum(function(inputs))
        return tape.gradient(total, inputs)
    if backend == "jax":
        import jax

        return jax.grad(lambda values: keras.ops.sum(function(values)))(inputs)
    raise NotImplementedError(f"gradients of inputs are written for tensorflow and jax, not for {backend}")


@contextmanager
def _exact_moments(tf) -> Iterator[None]:
    """Mean and variance that normalisations may be differentiated through twice.

    TensorFlow's own holds the mean constant inside the variance. The first derivative of that is right and costs less;
    the second is not: a gradient penalty's gradient through a batch or layer normalisation was off by a fifth.
    """

    def moments(x, axes, shift=None, keepdims=False, name=None):
        mean = tf.reduce_mean(x, axes, keepdims=True)
        variance = tf.reduce_mean(tf.math.squared_difference(x, mean), axes, keepdims=True)
        return (mean, variance) if keepdims else (tf.squeeze(mean, axes), tf.squeeze(variance, axes))

    theirs, tf.nn.moments = tf.nn.moments, moments
    try:
        yield
    finally:
        tf.nn.moments = theirs

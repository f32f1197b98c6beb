"""Activations of the last spatial layer and the gradient of a logit by them: the one place that differentiates outside
training, and so the one place that must know the backend."""

from collections.abc import Callable

import numpy as np

from scanloom.lazy import keras

LAYER = "feature_map"


def feature_gradients(model) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A function of images and class indices giving activations, gradients and logits as NumPy arrays.

    model: flat keras.Model from float32 images `[batch, *spatial, channels]` to logits `[batch, classes]` with a layer
    named "feature_map" that everything after it depends on alone. Activations and gradients are `[batch, *coarse,
    maps]`; row i holds the gradient of logit class_index[i]. The network is in inference mode. Build it once per model.
    """
    before, after = split_at(model, LAYER)
    backend = keras.backend.backend()
    if backend not in GRADIENTS:
        raise ValueError(f"explanations need gradients from the backends {', '.join(GRADIENTS)}, not '{backend}'")
    gradient_of_logit = GRADIENTS[backend](after)

    def run(images: np.ndarray, class_index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        activations = before(images, training=False)
        chosen = keras.ops.one_hot(np.asarray(class_index, np.int32), model.output.shape[-1])
        logits, gradients = gradient_of_logit(activations, chosen)
        return tuple(keras.ops.convert_to_numpy(part) for part in (activations, gradients, logits))

    return run


def split_at(model, layer: str):
    """The model as two: images to the layer's output, and the layer's output to logits."""
    names = [inner.name for inner in model.layers]
    if layer not in names:
        raise ValueError(f"model '{model.name}' has no layer '{layer}'; its last layers are {', '.join(names[-4:])}")
    cut = model.get_layer(layer).output
    return keras.Model(model.input, cut), keras.Model(cut, model.output)


def _tensorflow(after):
    import tensorflow as tf

    @tf.function(reduce_retracing=True)
    def gradient_of_logit(activations, chosen):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(activations)
            logits = after(activations, training=False)
            total = tf.reduce_sum(logits * chosen)
        return logits, tape.gradient(total, activations)

    return gradient_of_logit


def _jax(after):
    import jax

    def total(activations, chosen):
        logits = after(activations, training=False)
        return (logits * chosen).sum(), logits

    with_logits = jax.grad(total, has_aux=True)

    def gradient_of_logit(activations, chosen):
        gradients, logits = with_logits(activations, chosen)
        return logits, gradients

    return gradient_of_logit


GRADIENTS = {"tensorflow": _tensorflow, "jax": _jax}

"""How likely an image is under what the decoder says about each of its pixels."""

import math

from scanloom.lazy import keras

SMALLEST_SCALE = 1e-3
"""A fitted scale does not fall below a quarter of a grey level of 8-bit images: densities would grow without end."""


def log_likelihood(images, decoded, kind: str, scale: float | str = "fitted"):
    """Nats [batch], summed over pixels and channels.

    images float32 [batch, *spatial, channels] in [0, 1]; decoded, of the same shape: logits for "bernoulli", else the
    distribution's centre. scale: sigma of "gaussian", b of "laplace", or "fitted": the one number under which the batch
    is most likely, sqrt(mean squared error) or mean absolute error (Rybkin et al., arXiv 2006.13202, equation 5).
    Bernoulli: x log p + (1 - x) log(1 - p), which for grey values is not a density, but what is widely used.
    """
    ops = keras.ops
    axes = tuple(range(1, len(images.shape)))
    if kind == "bernoulli":
        return ops.sum(images * decoded - ops.softplus(decoded), axis=axes)
    error = images - decoded
    if kind == "gaussian":
        sigma = _scale(scale, lambda: ops.sqrt(ops.mean(ops.square(error))))
        return ops.sum(-0.5 * ops.square(error / sigma) - ops.log(sigma) - 0.5 * math.log(2.0 * math.pi), axis=axes)
    if kind == "laplace":
        b = _scale(scale, lambda: ops.mean(ops.abs(error)))
        return ops.sum(-ops.abs(error) / b - ops.log(2.0 * b), axis=axes)
    raise ValueError(f"no likelihood '{kind}'. Known: bernoulli, gaussian, laplace.")


def as_images(decoded, kind: str):
    """The decoder's mean images in [0, 1], for pictures."""
    return keras.ops.sigmoid(decoded) if kind == "bernoulli" else keras.ops.clip(decoded, 0.0, 1.0)


def _scale(scale: float | str, fitted):
    """The likeliest scale makes the likelihood flat in the scale, so its gradient is zero anyway: it is stopped."""
    if scale != "fitted":
        return keras.ops.convert_to_tensor(scale, "float32")
    return keras.ops.stop_gradient(keras.ops.maximum(fitted(), SMALLEST_SCALE))

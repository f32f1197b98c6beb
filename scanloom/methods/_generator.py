"""From noise to images: generators of adversarial methods, rank 2 or 3, any image size.

dcgan: transposed convolutions (Radford et al., arXiv 1511.06434), those of the decoders. residual: blocks of
normalisation, ReLU, doubling, 3x3, normalisation, ReLU, 3x3 with a 1x1 shortcut (Gulrajani et al., arXiv 1704.00028,
appendix; Miyato & Koyama, 1802.05637). Both start from a grid of about 4 places per axis and double it as often as the
image needs; sizes that are no power of two times 4 are cut at the end of their axes. Differences: a sigmoid instead of
tanh, because images span [0, 1] here, and the initial weights of the encoders, but for the last convolution, from which
the sigmoid would start saturated.
"""

import math
from typing import Literal

from scanloom.lazy import keras
from scanloom.methods._decoder import SMALLEST_GRID, WIDEST, decoder_of_vectors, deviate, levels
from scanloom.training.initial_weights import initialise

Kind = Literal["dcgan", "residual"]
FIRST_LOGITS = 1.0
"""Standard deviation of a residual generator's logits of grey before training."""


def generator(kind: Kind, sigmas: tuple[float, ...], image_shape: tuple[int, ...], width: int, seed: int):
    """Model from standard normal noise [batch, len(sigmas)] to images [batch, *spatial, channels] in [0, 1].

    sigmas: standard deviations of the latent prior. The noise is multiplied by them in here, so whoever calls the model
    samples from the prior it was trained with. width: channels at full size, doubled per level below, up to 8 times.
    """
    body = decoder_of_vectors if kind == "dcgan" else _residual
    noise = keras.Input((len(sigmas),), name="noise")
    codes = keras.layers.Rescaling([float(sigma) for sigma in sigmas], name="prior")(noise)
    images = body(len(sigmas), image_shape, width, seed)(codes)
    return keras.Model(noise, keras.layers.Activation("sigmoid", name="images")(images), name="generator")


def _residual(size: int, image_shape: tuple[int, ...], width: int, seed: int):
    """Model from [batch, size] to [batch, *spatial, channels], without activation."""
    spatial, rank = image_shape[:-1], len(image_shape) - 1
    grid = tuple(_start(length) for length in spatial)
    plan = levels(spatial, grid)
    channels = width * min(2 ** len(plan), WIDEST)
    inputs = keras.Input((size,), name="latent")
    x = keras.layers.Dense(math.prod(grid) * channels, name="grid")(inputs)
    x = keras.layers.Reshape((*grid, channels), name="start")(x)
    for left, (strides, sizes) in zip(reversed(range(len(plan))), plan, strict=True):
        x = _block(x, width * min(2**left, WIDEST), strides, sizes, f"block{left}")
    x = _conv(_norm_relu(x, "last"), image_shape[-1], 3, rank, "pixels", bias=True)
    body = initialise(keras.Model(inputs, x, name="residual_decoder"), seed)
    deviate(body.get_layer("pixels"), FIRST_LOGITS)
    return body


def _block(x, channels: int, strides, sizes, name: str):
    rank = len(sizes)
    y = _doubled(_norm_relu(x, f"{name}_1"), strides, sizes, f"{name}_up")
    y = _conv(y, channels, 3, rank, f"{name}_conv1")
    y = _conv(_norm_relu(y, f"{name}_2"), channels, 3, rank, f"{name}_conv2", bias=True)
    # A 1x1 convolution before the doubling gives what it would give after it, from a quarter of the places.
    x = _doubled(_conv(x, channels, 1, rank, f"{name}_shortcut"), strides, sizes, f"{name}_shortcut_up")
    return keras.layers.Add(name=f"{name}_out")([x, y])


def _doubled(x, strides, sizes, name: str):
    """Nearest neighbours, cut off at the end of the axes."""
    rank = len(sizes)
    x = getattr(keras.layers, f"UpSampling{rank}D")(strides, name=name)(x)
    excess = [(0, have - want) for have, want in zip(x.shape[1:-1], sizes, strict=True)]
    if any(end for _, end in excess):
        x = getattr(keras.layers, f"Cropping{rank}D")(excess, name=f"{name}_cut")(x)
    return x


def _conv(x, channels: int, kernel: int, rank: int, name: str, bias: bool = False):
    layer = getattr(keras.layers, f"Conv{rank}D")
    return layer(channels, kernel, padding="same", use_bias=bias, name=name)(x)


def _norm_relu(x, name: str):
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _start(length: int) -> int:
    """The length halved, rounded up, until it is not above the smallest grid."""
    while length > SMALLEST_GRID:
        length = -(-length // 2)
    return length

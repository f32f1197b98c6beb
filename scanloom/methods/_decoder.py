"""From features back to an image: transposed convolutions, one level per halving of the encoder, rank 2 or 3.

Any image size works: a level's size is half that of the level above, rounded up, as in encoders with "same" padding;
what a doubling gives too much is cut off at the end of the axis. Where an encoder rounds down, what lacks is zero.
"""

import math

from scanloom.lazy import keras
from scanloom.training.initial_weights import initialise

SMALLEST_GRID = 4
WIDEST = 8
"""The widest level has this many times the channels of the level at full size."""
FIRST_OUTPUTS = 0.1
"""Standard deviation of the decoder's outputs before training."""


def decoder_of_maps(grid: tuple[int, ...], image_shape: tuple[int, ...], width: int, seed: int, skips=()):
    """Model from a feature map [batch, *grid] (grid with channels) to [batch, *spatial, channels], without activation.

    skips: shapes (*spatial, channels) of further feature maps, at most one per level; with them the model takes a list,
    the first feature map and then these, and each is joined to the level of its size, as in a U-Net.
    """
    inputs = [
        keras.Input(grid, name="feature_map"),
        *(keras.Input(shape, name=f"skip{i}") for i, shape in enumerate(skips)),
    ]
    joined = {tuple(skip.shape[1:-1]): skip for skip in inputs[1:]}
    x = _levels(inputs[0], image_shape, width, joined)
    return _finished(inputs if skips else inputs[0], x, image_shape, seed)


def decoder_of_vectors(size: int, image_shape: tuple[int, ...], width: int, seed: int):
    """Model from [batch, size] to [batch, *spatial, channels], without activation, from a grid of about 4 upwards."""
    spatial = image_shape[:-1]
    grid = tuple(_halved_to(length, SMALLEST_GRID)[-1] for length in spatial)
    channels = width * min(2 ** len(levels(spatial, grid)), WIDEST)
    inputs = keras.Input((size,), name="latent")
    x = keras.layers.Dense(math.prod(grid) * channels, activation="relu", name="grid")(inputs)
    x = _levels(keras.layers.Reshape((*grid, channels), name="start")(x), image_shape, width, {})
    return _finished(inputs, x, image_shape, seed)


def _finished(inputs, x, image_shape: tuple[int, ...], seed: int):
    """The model with its last layer, whose outputs start near zero: images, and logits of grey, are small numbers."""
    last = _layer("Conv", len(image_shape) - 1)(image_shape[-1], 3, padding="same", name="pixels")
    decoder = initialise(keras.Model(inputs, last(x), name="decoder"), seed)
    deviate(last, FIRST_OUTPUTS)
    return decoder


def deviate(last, deviation: float) -> None:
    """Scale the new kernel of a convolution whose inputs are normalised and rectified, so that its outputs deviate so.

    `initialise` counts what a pixel goes to; of what it comes from, its outputs would deviate by sqrt(in / out).
    """
    channels_in, channels_out = last.kernel.shape[-2:]
    last.kernel.assign(last.kernel * (deviation * math.sqrt(channels_out / channels_in)))


def levels(spatial: tuple[int, ...], grid: tuple[int, ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(strides, sizes after it) of each level from the grid up to the image. Raises ValueError for a larger grid."""
    if any(small > large for small, large in zip(grid, spatial, strict=True)):
        raise ValueError(
            f"a feature map of {tuple(grid)} is larger than the image, {tuple(spatial)}: nothing to decode"
        )
    per_axis = [_axis_levels(*sizes) for sizes in zip(spatial, grid, strict=True)]
    count = max(len(axis) for axis in per_axis)
    padded = [[(1, size)] * (count - len(axis)) + axis for size, axis in zip(grid, per_axis, strict=True)]
    return [tuple(zip(*level, strict=True)) for level in zip(*padded, strict=True)]


def feature_map_of(encoder):
    """The encoder's last spatial features, a symbolic tensor. Raises ValueError where it has none."""
    names = [layer.name for layer in encoder.layers]
    if "feature_map" not in names:
        raise ValueError(f"encoder '{encoder.name}' has no layer 'feature_map', from which images could be decoded")
    return encoder.get_layer("feature_map").output


def skips_of(encoder, image_shape: tuple[int, ...]) -> list:
    """The encoder's last output of each level's size, coarse to fine, feature map left out, where it has one.

    Raises ValueError where no level has one (a ViT has one size only).
    """
    sizes = [size for _, size in levels(image_shape[:-1], tuple(feature_map_of(encoder).shape[1:-1]))]
    found = {}
    for layer in encoder.layers:
        if not isinstance(layer.output, list | tuple) and not isinstance(layer, keras.layers.InputLayer):
            found[tuple(layer.output.shape[1:-1])] = layer.output
    if not found.keys() & set(sizes):
        raise ValueError(
            f"encoder '{encoder.name}' has features of none of the sizes {sizes} to join: set skips: false"
        )
    return [found[size] for size in sizes if size in found]


def _levels(x, image_shape: tuple[int, ...], width: int, joined: dict):
    rank = len(image_shape) - 1
    plan = levels(image_shape[:-1], tuple(x.shape[1:-1]))
    for left, (strides, sizes) in zip(reversed(range(len(plan))), plan, strict=True):
        channels = width * min(2**left, WIDEST)
        # Kernels that are a multiple of the stride give every pixel equally many contributions.
        kernel = tuple({1: 3, 2: 4}.get(stride, stride) for stride in strides)
        up = _layer("Conv", rank, "Transpose")
        x = up(channels, kernel, strides=strides, padding="same", use_bias=False, name=f"up{left}")(x)
        x = _fitted(x, sizes, f"fit{left}")
        x = _norm_relu(x, f"up{left}")
        if sizes in joined:
            x = keras.layers.Concatenate(name=f"join{left}")([x, joined[sizes]])
            x = _layer("Conv", rank)(channels, 3, padding="same", use_bias=False, name=f"joined{left}")(x)
            x = _norm_relu(x, f"joined{left}")
    return x


def _norm_relu(x, name: str):
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
    return keras.layers.Activation("relu", name=f"{name}_relu")(x)


def _fitted(x, sizes: tuple[int, ...], name: str):
    """`x` cut off or padded with zeros at the end of its axes."""
    excess = [have - want for have, want in zip(x.shape[1:-1], sizes, strict=True)]
    for kind, sign in (("Cropping", 1), ("ZeroPadding", -1)):
        ends = [(0, max(0, sign * length)) for length in excess]
        if any(end for _, end in ends):
            x = _layer(kind, len(sizes))(ends, name=f"{name}_{kind.lower()}")(x)
    return x


def _layer(name: str, rank: int, ending: str = ""):
    return getattr(keras.layers, f"{name}{rank}D{ending}")


def _axis_levels(size: int, grid: int) -> list[tuple[int, int]]:
    """(stride, size after it) from grid to size: doublings where halving gets near the grid, else factors."""
    halved = _halved_to(size, grid)
    if halved[-1] != grid:
        halved = [-(-size // 2**level) for level in range(max(1, round(math.log2(size / grid))) + 1)]
        if abs(halved[-1] - grid) > 1 and size % grid == 0:
            factors = _prime_factors(size // grid)
            return list(zip(factors, (grid * math.prod(factors[: i + 1]) for i in range(len(factors))), strict=True))
    return [(2, length) for length in reversed(halved[:-1])]


def _halved_to(size: int, smallest: int) -> list[int]:
    """The size, its half, ... (rounded up), until one is not above `smallest`."""
    sizes = [size]
    while sizes[-1] > smallest:
        sizes.append(-(-sizes[-1] // 2))
    return sizes


def _prime_factors(number: int) -> list[int]:
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors

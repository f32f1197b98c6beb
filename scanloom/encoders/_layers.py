"""What the encoders share: layers by rank, checks of the image's shape, and the ending that all of them have.

Layers are Keras' own, so a saved encoder loads without this library.
"""

import re

from scanloom.lazy import keras

MOMENTUM, EPSILON = 0.9, 1e-5
UNDRAWN = "zeros"
"""Start of every kernel until `initialise` draws it. With JAX on a CPU, a small ResNet was measured to be built in
1.6 s this way and in 80 s where Keras drew kernels first: a compilation for each shape."""


def rank_of(image_shape: tuple[int, ...], encoder: str, ranks: tuple[int, ...] = (2, 3)) -> int:
    """Number of spatial axes of images [*spatial, channels]. Raises ValueError for a rank the encoder has not."""
    rank = len(image_shape) - 1
    if rank not in ranks:
        raise ValueError(
            f"image shape {tuple(image_shape)} has {rank} spatial axes; {encoder} takes {' or '.join(map(str, ranks))}"
        )
    return rank


def require_divisible(image_shape: tuple[int, ...], factor: int, encoder: str, setting: str) -> None:
    """Raise ValueError unless every edge is a multiple of `factor`; `setting` says what else may be changed."""
    if any(edge % factor for edge in image_shape[:-1]):
        raise ValueError(
            f"image shape {tuple(image_shape)}: {encoder} needs edges that are multiples of {factor} here; "
            f"change {setting}, or the images' size with the steps resize or crop_or_pad"
        )


def require_smallest(image_shape: tuple[int, ...], edge: int, encoder: str, setting: str) -> None:
    """Raise ValueError if an edge is shorter than `edge`; `setting` says what else may be changed."""
    if min(image_shape[:-1]) < edge:
        raise ValueError(
            f"image shape {tuple(image_shape)}: {encoder} needs edges of at least {edge} here; "
            f"change {setting}, or the images' size with the steps resize or crop_or_pad"
        )


def of_rank(name: str, rank: int):
    """The Keras layer class of a rank: `of_rank("Conv", 3)` is Conv3D."""
    return getattr(keras.layers, f"{name}{rank}D")


def conv(x, channels: int, kernel: int, rank: int, name: str, stride: int = 1, bias: bool = False, symmetric=False):
    """A convolution with zero padding, so that every `stride`-th place has an output.

    symmetric: (kernel - 1) / 2 zeros on both sides, as in PyTorch and in published weights, where the stride would let
    "same" padding put one more to the right. `name` is the convolution's.
    """
    padding = "same"
    if symmetric and stride > 1 and kernel > 1:
        x = of_rank("ZeroPadding", rank)((kernel - 1) // 2, name=f"{name}_padding")(x)
        padding = "valid"
    if kernel == 1 and stride > 1:
        x, stride = every_nth(x, stride, rank, f"{name}_places"), 1
    layer = of_rank("Conv", rank)
    return layer(
        channels, kernel, strides=stride, padding=padding, use_bias=bias, kernel_initializer=UNDRAWN, name=name
    )(x)


def every_nth(x, stride: int | tuple[int, ...], rank: int, name: str):
    """The first of every `stride` places along each axis: all that a 1 x 1 convolution with that stride looks at.

    Before an unstrided convolution instead of a stride in it, because TensorFlow's oneDNN kernels get the kernel's
    gradient of 1 x 1 convolutions with a stride wrong (seen in 2.21; `tests/contracts/test_encoders.py`). A mean
    over windows of one place is the fastest way of writing it: a third of a slice's time.
    """
    return of_rank("AveragePooling", rank)(1, strides=stride, padding="same", name=name)(x)


def patches(x, channels: int, size: int, rank: int, name: str):
    """Each patch of size^rank pixels as `channels` linear sums with a bias; patches do not overlap."""
    return of_rank("Conv", rank)(channels, size, strides=size, kernel_initializer=UNDRAWN, name=name)(x)


def dense(x, size: int, name: str):
    """Linear sums of the last axis."""
    return keras.layers.Dense(size, kernel_initializer=UNDRAWN, name=name)(x)


def layer_norm(x, name: str):
    """Layer normalisation with the epsilon of transformers."""
    return keras.layers.LayerNormalization(epsilon=1e-6, name=name)(x)


def norm(x, name: str, gamma: str = "ones", epsilon: float = EPSILON):
    """Batch normalisation; gamma "zeros" starts a residual branch as nothing."""
    layer = keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=epsilon, gamma_initializer=gamma, name=name)
    return layer(x)


def activation(x, name: str, kind: str = "relu"):
    """relu, gelu, tanh, linear, leaky_relu with slope 0.2."""
    if kind == "leaky_relu":
        return keras.layers.LeakyReLU(negative_slope=0.2, name=name)(x)
    return keras.layers.Activation(kind, name=name)(x)


def max_pool(x, rank: int, name: str, size: int = 2, stride: int = 2, padding: str = "valid"):
    """Maximum over size^rank places."""
    return of_rank("MaxPooling", rank)(size, strides=stride, padding=padding, name=name)(x)


def average_pool(x, rank: int, name: str, size: int = 2):
    """Mean over size^rank places that do not overlap."""
    return of_rank("AveragePooling", rank)(size, name=name)(x)


def ending(inputs, x, rank: int, name: str):
    """The encoder: `x` must come from the layer "feature_map"; its mean over all places leaves the layer "features"."""
    return _with_own_names(keras.Model(inputs, of_rank("GlobalAveragePooling", rank)(name="features")(x), name=name))


def _with_own_names(model):
    """Keras numbers what has no name by what else the process has built, and a saved file would depend on that."""
    for index, operation in enumerate(model.operations):
        if not isinstance(operation, keras.layers.Layer):
            operation.name = f"{type(operation).__name__.lower()}_{index}"
        elif isinstance(operation, keras.layers.MultiHeadAttention):
            for inner in operation._flatten_layers(include_self=False):
                inner.name = re.sub(r"_\d+$", "", inner.name)
    return model

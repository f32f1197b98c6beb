"""ResNet (He et al., arXiv 1512.03385), rank 2 or 3, by depth and width.

Version 1 blocks: convolution, batch normalisation, ReLU; the shortcut is added before the last ReLU; in bottlenecks the
3x3 convolution carries the stride, as in every later implementation. Differences from the paper: "same" padding (one
pixel to the right where a stride makes it uneven), and the last normalisation of each block starts at zero (Goyal et
al., arXiv 1706.02677), so that every block starts as the identity.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from scanloom.initial_weights import initialise
from scanloom.lazy import keras

BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
BOTTLENECK_DEPTHS = (50,)
BOTTLENECK_EXPANSION = 4
MOMENTUM, EPSILON = 0.9, 1e-5


class Settings(BaseModel):
    """Size of the network."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    depth: Literal[10, 18, 34, 50] = Field(18, description="number of layers, as the paper counts them")
    width: int = Field(64, ge=1, le=512, description="channels of the first stage; 64 in the paper, doubled per stage")
    stem: Literal["small", "strided", "imagenet"] = Field(
        "small",
        description="small: 3x3, full resolution (images up to ~100 px); strided: 4x4 stride 2, half the resolution at "
        "a quarter of the cost; imagenet: 7x7 stride 2, then max pooling",
    )
    last_stride: Literal[1, 2] = Field(2, description="of the last stage; 1: a finer feature map")
    zero_init_residual: bool = Field(True, description="the last normalisation of each block starts at zero")


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, *spatial, channels] in [0, 1] to features [batch, D].

    D is 8 times the width (32 times with bottlenecks). The last spatial features leave the layer "feature_map".
    """
    rank = len(image_shape) - 1
    if rank not in (2, 3):
        raise ValueError(f"image shape {tuple(image_shape)} has {rank} spatial axes; resnet takes 2 or 3")
    inputs = keras.Input(image_shape, name="images")
    x = _stem(inputs, settings, rank)
    bottleneck = settings.depth in BOTTLENECK_DEPTHS
    counts = BLOCKS[settings.depth]
    for stage, count in enumerate(counts):
        for block in range(count):
            last = stage == len(counts) - 1 and block == count - 1
            x = _block(
                x,
                settings.width * 2**stage,
                stride=_stride(stage, block, settings),
                rank=rank,
                bottleneck=bottleneck,
                zero_init=settings.zero_init_residual,
                name=f"stage{stage + 1}_block{block + 1}",
                output_name="feature_map" if last else None,
            )
    pool = keras.layers.GlobalAveragePooling2D if rank == 2 else keras.layers.GlobalAveragePooling3D
    return initialise(keras.Model(inputs, pool(name="features")(x), name="resnet"), seed)


def _stride(stage: int, block: int, settings: Settings) -> int:
    if stage == 0 or block > 0:
        return 1
    return settings.last_stride if stage == 3 else 2


def _stem(x, settings: Settings, rank: int):
    if settings.stem != "imagenet":
        kernel, stride = (3, 1) if settings.stem == "small" else (4, 2)
        return _relu(_norm(_conv(x, settings.width, kernel, stride, rank, "stem_conv"), "stem_norm"), "stem")
    x = _relu(_norm(_conv(x, settings.width, 7, 2, rank, "stem_conv"), "stem_norm"), "stem_relu")
    pool = keras.layers.MaxPooling2D if rank == 2 else keras.layers.MaxPooling3D
    return pool(3, strides=2, padding="same", name="stem")(x)


def _block(x, channels, *, stride, rank, bottleneck, zero_init, name, output_name):
    if bottleneck:
        out = channels * BOTTLENECK_EXPANSION
        plan = [(channels, 1, 1), (channels, 3, stride), (out, 1, 1)]
    else:
        out = channels
        plan = [(channels, 3, stride), (channels, 3, 1)]
    y = x
    for i, (size, kernel, step) in enumerate(plan, start=1):
        y = _conv(y, size, kernel, step, rank, f"{name}_conv{i}")
        last = i == len(plan)
        y = _norm(y, f"{name}_norm{i}", gamma="zeros" if last and zero_init else "ones")
        y = y if last else _relu(y, f"{name}_relu{i}")
    if stride != 1 or x.shape[-1] != out:
        x = _norm(_conv(x, out, 1, stride, rank, f"{name}_shortcut_conv"), f"{name}_shortcut_norm")
    return _relu(keras.layers.Add(name=f"{name}_add")([x, y]), output_name or f"{name}_out")


def _conv(x, channels, kernel, stride, rank, name):
    conv = keras.layers.Conv2D if rank == 2 else keras.layers.Conv3D
    return conv(channels, kernel, strides=stride, padding="same", use_bias=False, name=name)(x)


def _norm(x, name, gamma="ones"):
    layer = keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, gamma_initializer=gamma, name=name)
    return layer(x)


def _relu(x, name):
    return keras.layers.Activation("relu", name=name)(x)

"""ResNet (He et al., arXiv 1512.03385; version 2: 1603.05027), rank 2 or 3, by depth and width.

Version 1 blocks: convolution, batch normalisation, ReLU; the shortcut is added before the last ReLU; in bottlenecks the
3x3 convolution carries the stride, as in every later implementation. Version 2 blocks normalise and rectify first, so
the shortcuts stay untouched from the stem to the end. Differences from the papers: "same" padding (one pixel to the
right where a stride makes it uneven; `padding: symmetric` as published), and the last normalisation of each block of
version 1 starts at zero (Goyal et al., arXiv 1706.02677), so that every block starts as the identity. Any image size;
at least 2 pixels with `stem: strided` and symmetric padding.
"""

import re
from typing import Literal

from pydantic import Field

from scanloom.encoders._layers import activation, conv, ending, max_pool, norm, of_rank, rank_of, require_smallest
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise

BLOCKS = {
    10: (1, 1, 1, 1),
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
BOTTLENECK_DEPTHS = (50, 101, 152, 200)
BOTTLENECK_EXPANSION = 4


class Settings(Strict):
    """Size of the network."""

    depth: Literal[10, 18, 34, 50, 101, 152, 200] = Field(18, description="number of layers, as the paper counts them")
    version: Literal[1, 2] = Field(1, description="2: normalisation and ReLU before the convolutions (pre-activation)")
    width: int = Field(64, ge=1, le=512, description="channels of the first stage; 64 in the paper, doubled per stage")
    stem: Literal["small", "strided", "imagenet"] = Field(
        "small",
        description="small: 3x3, full resolution (images up to ~100 px); strided: 4x4 stride 2, half the resolution at "
        "a quarter of the cost; imagenet: 7x7 stride 2, then max pooling",
    )
    last_stride: Literal[1, 2] = Field(2, description="of the last stage; 1: a finer feature map")
    zero_init_residual: bool = Field(
        True, description="version 1: the last normalisation of each block starts at zero; version 2 has none there"
    )
    padding: Literal["same", "symmetric"] = Field(
        "same", description="symmetric: as published weights need it; same: the outputs of a stride cover the image"
    )
    bottleneck_stride: Literal["middle", "first"] = Field(
        "middle", description="which convolution of a bottleneck has the stride; first: the paper, keras.applications"
    )


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, *spatial, channels] in [0, 1] to features [batch, D].

    D is 8 times the width (32 times with bottlenecks). The last spatial features leave the layer "feature_map".
    """
    rank = rank_of(image_shape, "resnet")
    if settings.stem == "strided" and settings.padding == "symmetric":
        require_smallest(image_shape, 2, "resnet", "stem or padding")  # 4x4 with one pixel of padding on each side
    inputs = keras.Input(image_shape, name="images")
    x = _stem(inputs, settings, rank)
    block_of = _block if settings.version == 1 else _pre_activation_block
    counts = BLOCKS[settings.depth]
    for stage, count in enumerate(counts):
        for block in range(count):
            last = stage == len(counts) - 1 and block == count - 1
            x = block_of(
                x,
                settings,
                settings.width * 2**stage,
                stride=_stride(stage, block, settings),
                rank=rank,
                name=f"stage{stage + 1}_block{block + 1}",
                output_name="feature_map" if last and settings.version == 1 else None,
            )
    if settings.version == 2:
        x = activation(norm(x, "last_norm"), "feature_map")
    return initialise(ending(inputs, x, rank, "resnet"), seed)


def from_published(arrays: dict) -> dict:
    """Arrays named as in keras.applications' ResNet or torchvision's and timm's resnet, under this file's names.

    Both need `stem: imagenet` and `padding: symmetric`; those of keras.applications (depth 50 and more) also
    `bottleneck_stride: first`. keras.applications' ResNetV2 has its strides elsewhere and does not fit version 2.
    """
    return {_own_name(*name.rsplit("/", 1)): array for name, array in arrays.items() if "/" in name}


def _own_name(layer: str, variable: str) -> str:
    if found := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer):
        part = "shortcut_{}" if found[3] == "0" else "{}" + found[3]
        layer = f"stage{int(found[1]) - 1}_block{found[2]}_{part.format('norm' if found[4] == 'bn' else 'conv')}"
    elif found := re.fullmatch(r"layer(\d)\.(\d+)\.(conv|bn)(\d)", layer):
        layer = f"stage{found[1]}_block{int(found[2]) + 1}_{'norm' if found[3] == 'bn' else 'conv'}{found[4]}"
    elif found := re.fullmatch(r"layer(\d)\.(\d+)\.downsample\.(\d)", layer):
        layer = f"stage{found[1]}_block{int(found[2]) + 1}_shortcut_{('conv', 'norm')[int(found[3])]}"
    elif layer in ("conv1_conv", "conv1", "conv1_bn", "bn1"):
        layer = "stem_norm" if "bn" in layer else "stem_conv"
    return f"{layer}/{variable}"


def _stride(stage: int, block: int, settings: Settings) -> int:
    if stage == 0 or block > 0:
        return 1
    return settings.last_stride if stage == 3 else 2


def _stem(x, settings: Settings, rank: int):
    kernel, stride = {"small": (3, 1), "strided": (4, 2), "imagenet": (7, 2)}[settings.stem]
    pooled, symmetric = settings.stem == "imagenet", settings.padding == "symmetric"
    x = conv(x, settings.width, kernel, rank, "stem_conv", stride, symmetric=symmetric)
    if settings.version == 1:
        x = activation(norm(x, "stem_norm"), "stem_relu" if pooled else "stem")
    if not pooled:
        return x
    if symmetric:  # with zeros, which version 1's ReLU makes harmless; version 2 as in keras.applications
        x = of_rank("ZeroPadding", rank)(1, name="stem_padding")(x)
    return max_pool(x, rank, "stem", 3, 2, "valid" if symmetric else "same")


def _plan(settings: Settings, channels: int, stride: int) -> list[tuple[int, int, int]]:
    """(channels, kernel, stride) of a block's convolutions."""
    if settings.depth not in BOTTLENECK_DEPTHS:
        return [(channels, 3, stride), (channels, 3, 1)]
    first, middle = (stride, 1) if settings.bottleneck_stride == "first" else (1, stride)
    return [(channels, 1, first), (channels, 3, middle), (channels * BOTTLENECK_EXPANSION, 1, 1)]


def _block(x, settings: Settings, channels, *, stride, rank, name, output_name):
    plan, symmetric = _plan(settings, channels, stride), settings.padding == "symmetric"
    y = x
    for i, (size, kernel, step) in enumerate(plan, start=1):
        y = conv(y, size, kernel, rank, f"{name}_conv{i}", step, symmetric=symmetric)
        last = i == len(plan)
        y = norm(y, f"{name}_norm{i}", gamma="zeros" if last and settings.zero_init_residual else "ones")
        y = y if last else activation(y, f"{name}_relu{i}")
    if stride != 1 or x.shape[-1] != plan[-1][0]:
        x = norm(conv(x, plan[-1][0], 1, rank, f"{name}_shortcut_conv", stride), f"{name}_shortcut_norm")
    return activation(keras.layers.Add(name=f"{name}_add")([x, y]), output_name or f"{name}_out")


def _pre_activation_block(x, settings: Settings, channels, *, stride, rank, name, output_name):
    """The shortcut is the block's input itself, or where the shape changes a projection of its activation."""
    plan, symmetric = _plan(settings, channels, stride), settings.padding == "symmetric"
    shortcut = y = x
    for i, (size, kernel, step) in enumerate(plan, start=1):
        y = activation(norm(y, f"{name}_norm{i}"), f"{name}_relu{i}")
        if i == 1 and (stride != 1 or x.shape[-1] != plan[-1][0]):
            shortcut = conv(y, plan[-1][0], 1, rank, f"{name}_shortcut_conv", stride)
        y = conv(y, size, kernel, rank, f"{name}_conv{i}", step, symmetric=symmetric)
    return keras.layers.Add(name=output_name or f"{name}_out")([shortcut, y])

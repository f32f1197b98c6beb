"""DenseNet (Huang et al., arXiv 1608.06993), rank 2 or 3: each layer sees the feature maps of all layers before it.

Bottleneck and compression as in the paper's DenseNet-BC. Transitions halve the map and drop an odd last row. Layers are
arranged as in keras.applications and torchvision, whose weights fit where the stem is "imagenet" (`methods/imagenet`).
"""

import re
from typing import Literal

from pydantic import Field

from scanloom.encoders._layers import (
    activation,
    average_pool,
    conv,
    ending,
    max_pool,
    norm,
    of_rank,
    rank_of,
    require_smallest,
)
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise

BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32), 264: (6, 12, 64, 48)}
BOTTLENECK = 4
COMPRESSION = 0.5


class Settings(Strict):
    """Size of the network."""

    depth: Literal[121, 169, 201, 264] | None = Field(121, description="the paper's networks; null: as `blocks` says")
    blocks: tuple[int, ...] = Field((), description="layers of each block, for a depth of null: (4, 4, 4), for example")
    growth: int = Field(32, ge=1, le=256, description="feature maps that each layer adds; the stem has twice as many")
    stem: Literal["small", "imagenet"] = Field(
        "small", description="small: 3x3, full resolution; imagenet: 7x7 stride 2, then max pooling"
    )


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, *spatial, channels] in [0, 1] to features [batch, D].

    D is 1024 for depth 121. Raises ValueError for images that the stem and the transitions would halve to nothing.
    """
    rank = rank_of(image_shape, "densenet")
    counts = BLOCKS[settings.depth] if settings.depth else settings.blocks
    if not counts or min(counts) < 1 or (settings.depth and settings.blocks):
        raise ValueError(
            f"densenet: depth {settings.depth} with blocks {settings.blocks}; give a depth, or depth null and one "
            "number of layers for each block"
        )
    halvings = len(counts) - 1 + (2 if settings.stem == "imagenet" else 0)
    require_smallest(image_shape, 2**halvings, "densenet", "stem or the number of blocks")
    inputs = keras.Input(image_shape, name="images")
    x = _stem(inputs, settings, rank)
    for stage, count in enumerate(counts, start=1):
        if stage > 1:
            x = _transition(x, rank, f"transition{stage - 1}")
        for layer in range(1, count + 1):
            x = _dense_layer(x, settings.growth, rank, f"stage{stage}_layer{layer}")
    x = activation(norm(x, "last_norm"), "feature_map")
    return initialise(ending(inputs, x, rank, "densenet"), seed)


def from_published(arrays: dict) -> dict:
    """Arrays named as in keras.applications or torchvision, under this file's names; they need `stem: imagenet`."""
    return {_own_name(*name.rsplit("/", 1)): array for name, array in arrays.items() if "/" in name}


def _own_name(layer: str, variable: str) -> str:
    if found := re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer):
        number = int(found[3]) + (found[4] == "bn")
        layer = f"stage{int(found[1]) - 1}_layer{found[2]}_{'norm' if found[4] == 'bn' else 'conv'}{number}"
    elif found := re.fullmatch(r"pool(\d)_(conv|bn)", layer):
        layer = f"transition{int(found[1]) - 1}_{'norm' if found[2] == 'bn' else 'conv'}"
    elif found := re.fullmatch(r"features\.denseblock(\d)\.denselayer(\d+)\.((conv|norm)\d)", layer):
        layer = f"stage{found[1]}_layer{found[2]}_{found[3]}"
    elif found := re.fullmatch(r"features\.transition(\d)\.(conv|norm)", layer):
        layer = f"transition{found[1]}_{found[2]}"
    else:
        stems = {"conv1_conv": "stem_conv", "features.conv0": "stem_conv", "conv1_bn": "stem_norm"}
        ends = {"features.norm0": "stem_norm", "bn": "last_norm", "features.norm5": "last_norm"}
        layer = (stems | ends).get(layer, layer)
    return f"{layer}/{variable}"


def _stem(x, settings: Settings, rank: int):
    channels = 2 * settings.growth
    if settings.stem == "small":
        return conv(x, channels, 3, rank, "stem_conv")
    x = conv(x, channels, 7, rank, "stem_conv", 2, symmetric=True)
    x = activation(norm(x, "stem_norm"), "stem_relu")
    return max_pool(of_rank("ZeroPadding", rank)(1, name="stem_padding")(x), rank, "stem", 3, 2)


def _dense_layer(x, growth: int, rank: int, name: str):
    y = activation(norm(x, f"{name}_norm1"), f"{name}_relu1")
    y = conv(y, BOTTLENECK * growth, 1, rank, f"{name}_conv1")
    y = activation(norm(y, f"{name}_norm2"), f"{name}_relu2")
    return keras.layers.Concatenate(name=f"{name}_out")([x, conv(y, growth, 3, rank, f"{name}_conv2")])


def _transition(x, rank: int, name: str):
    x = activation(norm(x, f"{name}_norm"), f"{name}_relu")
    x = conv(x, int(x.shape[-1] * COMPRESSION), 1, rank, f"{name}_conv")
    return average_pool(x, rank, f"{name}_out")

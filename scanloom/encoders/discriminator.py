"""Trunks of GAN discriminators as encoders, rank 2 or 3: strided convolutions (DCGAN) or residual blocks.

dcgan (Radford et al., arXiv 1511.06434): 4x4 convolutions with stride 2, LeakyReLU with slope 0.2, a normalisation
after all but the first, until the shortest edge of the map is `smallest`. residual (Gulrajani et al., arXiv 1704.00028;
Miyato & Koyama, 1802.05637): blocks of ReLU, 3x3, ReLU, 3x3 and the mean of 2x2 places, no normalisation unless asked
for. Differences: features are the mean over all places (DCGAN flattens), initial weights are those of the other
encoders. A gradient penalty (WGAN-GP) needs `normalisation: none` or `layer`: batch statistics tie images together.
"""

from typing import Literal

from pydantic import Field

from scanloom.encoders._layers import (
    activation,
    average_pool,
    conv,
    ending,
    layer_norm,
    norm,
    rank_of,
    require_divisible,
)
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise


class Settings(Strict):
    """Kind and size of the trunk."""

    kind: Literal["dcgan", "residual"] = Field("dcgan", description="strided convolutions or residual blocks")
    width: int = Field(64, ge=1, le=512, description="channels after the first halving, doubled per halving")
    widest: int = Field(512, ge=1, le=4096, description="channels never exceed it")
    smallest: int = Field(4, ge=1, le=64, description="the map is halved until its shortest edge would be below this")
    normalisation: Literal["batch", "layer", "none"] | None = Field(
        None, description="null: batch for dcgan and none for residual, as published"
    )


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, *spatial, channels] in [0, 1] to features [batch, D].

    Raises ValueError unless the shortest edge is at least twice `smallest` and all edges can be halved as often.
    """
    rank = rank_of(image_shape, "discriminator")
    halvings = (min(image_shape[:-1]) // settings.smallest).bit_length() - 1
    if halvings < 1:
        raise ValueError(
            f"image shape {tuple(image_shape)}: discriminator halves the map until an edge has {settings.smallest} "
            f"places, so edges of at least {2 * settings.smallest} are needed; lower `smallest` or use larger images"
        )
    require_divisible(image_shape, 2**halvings, "discriminator", "smallest")
    inputs = x = keras.Input(image_shape, name="images")
    kind = settings.normalisation or ("batch" if settings.kind == "dcgan" else "none")
    for index in range(1, halvings + 1):
        channels = min(settings.width * 2 ** (index - 1), settings.widest)
        last = index == halvings
        if settings.kind == "dcgan":
            x = conv(x, channels, 4, rank, f"conv{index}", 2, bias=kind == "none" or index == 1)
            x = x if index == 1 else _norm(x, kind, f"norm{index}")
            x = activation(x, "feature_map" if last else f"relu{index}", "leaky_relu")
        else:
            x = _residual(x, channels, rank, kind, f"block{index}", first=index == 1)
    if settings.kind == "residual":
        x = activation(x, "feature_map")
    return initialise(ending(inputs, x, rank, "discriminator"), seed)


def _norm(x, kind: str, name: str):
    if kind == "none":
        return x
    return norm(x, name) if kind == "batch" else layer_norm(x, name)


def _residual(x, channels: int, rank: int, kind: str, name: str, first: bool):
    """The first block takes images, so nothing stands before its first convolution."""
    y = x if first else activation(_norm(x, kind, f"{name}_norm1"), f"{name}_relu1")
    y = conv(y, channels, 3, rank, f"{name}_conv1", bias=True)
    y = activation(_norm(y, kind, f"{name}_norm2"), f"{name}_relu2")
    y = average_pool(conv(y, channels, 3, rank, f"{name}_conv2", bias=True), rank, f"{name}_pool")
    x = average_pool(conv(x, channels, 1, rank, f"{name}_shortcut_conv", bias=True), rank, f"{name}_shortcut_pool")
    return keras.layers.Add(name=f"{name}_out")([x, y])

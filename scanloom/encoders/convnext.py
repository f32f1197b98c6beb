"""ConvNeXt (Liu et al., arXiv 2201.03545), rank 2 or 3: a ResNet with the choices of a vision transformer.

Blocks of a 7x7 convolution per channel, layer normalisation and a two-layer network with GELU, scaled before they are
added. Tiny is depths (3, 3, 9, 3) with width 96, Small (3, 3, 27, 3) with 96, Base the same with 128. Difference from
the paper: no stochastic depth, because nothing here is random inside a step. Features are normalised after pooling.
"""

import re

from pydantic import Field

from scanloom.encoders._layers import (
    UNDRAWN,
    activation,
    dense,
    ending,
    layer_norm,
    of_rank,
    patches,
    rank_of,
    require_divisible,
)
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise

EXPANSION = 4


class Settings(Strict):
    """Size of the network."""

    depths: tuple[int, ...] = Field(
        (2, 2, 6, 2), min_length=1, max_length=6, description="blocks per stage; each stage halves the map"
    )
    width: int = Field(40, ge=1, le=512, description="channels of the first stage, doubled per stage; Tiny has 96")
    patch: int = Field(
        2, ge=1, le=16, description="pixels per edge that become one place of the first map; 4 in the paper"
    )
    kernel: int = Field(7, ge=1, le=15, description="edge of the convolution per channel")
    layer_scale: float = Field(1e-6, gt=0, le=1, description="first value of the scale of each block's result")


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, *spatial, channels] in [0, 1] to features [batch, D].

    D is width * 2^(stages - 1). The features are the layer normalisation of the mean of the layer "feature_map". Raises
    ValueError unless edges are multiples of patch * 2^(stages - 1).
    """
    rank = rank_of(image_shape, "convnext")
    require_divisible(image_shape, settings.patch * 2 ** (len(settings.depths) - 1), "convnext", "patch or depths")
    inputs = keras.Input(image_shape, name="images")
    x = layer_norm(patches(inputs, settings.width, settings.patch, rank, "stem_conv"), "stem_norm")
    for stage, count in enumerate(settings.depths, start=1):
        width = settings.width * 2 ** (stage - 1)
        if stage > 1:
            x = patches(layer_norm(x, f"down{stage - 1}_norm"), width, 2, rank, f"down{stage - 1}_conv")
        for block in range(1, count + 1):
            last = stage == len(settings.depths) and block == count
            name = f"stage{stage}_block{block}"
            x = _block(x, settings, width, rank, name, "feature_map" if last else f"{name}_out")
    pooled = ending(inputs, x, rank, "convnext").output
    return initialise(keras.Model(inputs, layer_norm(pooled, "features_norm"), name="convnext"), seed)


def from_published(arrays: dict) -> dict:
    """Arrays named as in keras.applications or timm, under this file's names; they need `patch: 4`."""
    return {_own_name(*name.rsplit("/", 1)): array for name, array in arrays.items() if "/" in name}


PARTS = {
    **{"depthwise_conv": "depthwise_conv", "layernorm": "norm", "layer_scale": "scale"},
    **{"pointwise_conv_1": "dense1", "pointwise_conv_2": "dense2"},
    **{"conv_dw": "depthwise_conv", "norm": "norm", "gamma": "scale", "mlp.fc1": "dense1", "mlp.fc2": "dense2"},
}


def _own_name(layer: str, variable: str) -> str:
    layer = re.sub(r"^convnext_[a-z]+_", "", layer)
    if found := re.fullmatch(r"(?:stage_|stages\.)(\d)(?:_block_|\.blocks\.)(\d+)[_.](.+)", layer):
        layer = f"stage{int(found[1]) + 1}_block{int(found[2]) + 1}_{PARTS.get(found[3], found[3])}"
        variable = "kernel" if layer.endswith("_scale") else variable
    elif found := re.fullmatch(r"downsampling_(layernorm|conv)_(\d)", layer):
        layer = f"down{int(found[2]) + 1}_{'conv' if found[1] == 'conv' else 'norm'}"
    elif found := re.fullmatch(r"stages\.(\d)\.downsample\.(\d)", layer):
        layer = f"down{found[1]}_{('norm', 'conv')[int(found[2])]}"
    else:
        stems = {"stem_layernorm": "stem_norm", "stem.0": "stem_conv", "stem.1": "stem_norm"}
        ends = {"head_layernorm": "features_norm", "layer_normalization": "features_norm", "head.norm": "features_norm"}
        layer = (stems | ends).get(layer, layer)
    return f"{layer}/{variable}"


def _block(x, settings: Settings, width: int, rank: int, name: str, output_name: str):
    depthwise = of_rank("Conv", rank)(
        width, settings.kernel, padding="same", groups=width, kernel_initializer=UNDRAWN, name=f"{name}_depthwise_conv"
    )
    y = layer_norm(depthwise(x), f"{name}_norm")
    y = activation(dense(y, EXPANSION * width, f"{name}_dense1"), f"{name}_gelu", "gelu")
    y = dense(y, width, f"{name}_dense2")
    # A product per channel, written with a layer that every Keras has.
    # Axes are named one by one: with "..." Keras takes their sizes in reverse order.
    axes = "xyz"[:rank]
    y = keras.layers.EinsumDense(
        f"b{axes}c,c->b{axes}c",
        output_shape=tuple(y.shape[1:]),
        kernel_initializer=keras.initializers.Constant(settings.layer_scale),
        name=f"{name}_scale",
    )(y)
    return keras.layers.Add(name=output_name)([x, y])

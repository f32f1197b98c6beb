"""Vision transformer (Dosovitskiy et al., arXiv 2010.11929), rank 2 or 3: attention between patches of the image.

Blocks normalise first (layer normalisation, attention, layer normalisation, two layers with GELU). Tiny is width 192
with 3 heads, Small 384 with 6, Base 768 with 12, each with depth 12 and patches of 16. Positions are fixed sines and
cosines per axis by default (as in MAE, arXiv 2111.06377), so the weights fit images of any size; learnt ones fit one.
The outputs of the layers "patches" (before the first block, positions added) and "tokens" (after the last
normalisation; the class token first) are for methods that work on tokens. No dropout.
"""

import re
from typing import Literal

import numpy as np
from pydantic import Field

from scanloom.encoders._layers import (
    UNDRAWN,
    activation,
    dense,
    ending,
    layer_norm,
    patches,
    rank_of,
    require_divisible,
)
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise

LONGEST_WAVE = 10000.0


class Settings(Strict):
    """Size of the network, pooling and positions."""

    patch: int = Field(8, ge=1, le=64, description="pixels per edge that become one token; edges must be multiples")
    width: int = Field(192, ge=2, le=2048, description="numbers per token; a multiple of heads")
    depth: int = Field(6, ge=1, le=48, description="blocks")
    heads: int = Field(3, ge=1, le=32, description="attention heads of each block")
    expansion: int = Field(4, ge=1, le=8, description="hidden numbers of a block's two layers, times width")
    pooling: Literal["mean", "class"] = Field(
        "mean", description="features: the mean of the patches' tokens, or the class token"
    )
    positions: Literal["sincos", "learned"] = Field(
        "sincos", description="learned: the weights fit one image size only"
    )


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, *spatial, channels] in [0, 1] to features [batch, width].

    The layer "feature_map" gives the patches' last tokens as a grid whose mean is the features: with a class token the
    tokens are moved by a common offset so that this holds, and an explanation by the map explains the features. Raises
    ValueError for edges that are no multiples of `patch` and a width that is none of `heads`.
    """
    rank = rank_of(image_shape, "vit")
    require_divisible(image_shape, settings.patch, "vit", "patch")
    if settings.width % settings.heads:
        raise ValueError(f"vit: width {settings.width} is no multiple of heads {settings.heads}")
    inputs = keras.Input(image_shape, name="images")
    x = patches(inputs, settings.width, settings.patch, rank, "patch_embedding")
    grid, count = tuple(x.shape[1:-1]), int(np.prod(x.shape[1:-1]))
    if settings.positions == "sincos":
        x = x + grid_positions(grid, settings.width)
    x = keras.layers.Reshape((count, settings.width), name="patch_tokens")(x)
    if settings.pooling == "class":
        x = keras.layers.Concatenate(axis=1, name="with_class_token")([_learned(x[:, :1], "class_token"), x])
    if settings.positions == "learned":
        x = keras.layers.Add(name="with_positions")([x, _learned(x, "positions")])
    x = activation(x, "patches", "linear")
    for index in range(1, settings.depth + 1):
        x = _block(x, settings, f"block{index}")
    x = layer_norm(x, "tokens")
    if settings.pooling == "class":
        x = x[:, 1:] - keras.ops.mean(x[:, 1:], axis=1, keepdims=True) + x[:, :1]
    x = keras.layers.Reshape((*grid, settings.width), name="feature_map")(x)
    return initialise(ending(inputs, x, rank, "vit"), seed)


def grid_positions(grid: tuple[int, ...], width: int) -> np.ndarray:
    """Fixed positions float32 [1, *grid, width]: sines, then cosines, of the place along each axis in turn.

    Each axis has the same share of the width, in waves from 1 to 10000 places; what is left over stays 0.
    """
    half = width // (2 * len(grid))
    if half < 1:
        raise ValueError(f"vit: width {width} is too small for positions along {len(grid)} axes")
    frequencies = LONGEST_WAVE ** -(np.arange(half) / half)
    found = np.zeros((1, *grid, width), np.float32)
    for axis, size in enumerate(grid):
        angles = np.arange(size)[:, None] * frequencies
        waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
        shape = [1] * len(grid) + [2 * half]
        shape[axis] = size
        found[..., axis * 2 * half : (axis + 1) * 2 * half] = waves.reshape(1, *shape)
    return found


def from_published(arrays: dict) -> dict:
    """Arrays named as in timm's vision transformers and DINO's (vit_small_patch16_224, ...), under this file's names.

    They need `pooling: class` and `positions: learned`, and images of the size they were trained on.
    """
    made = {}
    for name, array in arrays.items():
        layer, _, variable = name.rpartition("/")
        layer = re.sub(r"^blocks\.(\d+)\.", lambda found: f"block{int(found[1]) + 1}_", layer)
        if layer.endswith("attn.qkv"):
            for part, values in zip(("query", "key", "value"), np.split(array, 3, axis=-1), strict=True):
                made[f"{layer.removesuffix('attn.qkv')}attention/{part}/{variable}"] = values
        else:
            layer = layer.replace("attn.proj", "attention/attention_output").replace("mlp.fc", "dense")
            own = {"patch_embed.proj": "patch_embedding", "norm": "tokens"}
            own |= {"cls_token": "class_token", "pos_embed": "positions"}
            variable = "embeddings" if variable == "value" else variable
            made[f"{own.get(layer, layer)}/{variable}"] = array
    return made


def _block(x, settings: Settings, name: str):
    size = settings.width // settings.heads
    y = layer_norm(x, f"{name}_norm1")
    attend = keras.layers.MultiHeadAttention
    y = attend(settings.heads, size, kernel_initializer=UNDRAWN, name=f"{name}_attention")(y, y)
    x = keras.layers.Add(name=f"{name}_attended")([x, y])
    y = layer_norm(x, f"{name}_norm2")
    y = activation(dense(y, settings.expansion * settings.width, f"{name}_dense1"), f"{name}_gelu", "gelu")
    y = dense(y, settings.width, f"{name}_dense2")
    return keras.layers.Add(name=f"{name}_out")([x, y])


def _learned(tokens, name: str):
    """Trained numbers for each place along the tokens, the same for every image: an embedding of the place's number."""
    count, width = tokens.shape[1:]
    places = keras.ops.cast(keras.ops.zeros_like(tokens[:, :, 0]), "int32") + np.arange(count, dtype="int32")
    return keras.layers.Embedding(count, width, embeddings_initializer=UNDRAWN, name=name)(places)

"""The down path of a U-Net (Ronneberger et al., arXiv 1505.04597; 3D: Cicek et al., 1606.06650), rank 2 or 3.

Levels of two 3x3 convolutions with batch normalisation and ReLU; between levels the maximum of 2x2 places and twice the
channels. What a decoder needs beside the last map are the outputs of the layers "skip1", "skip2", ... (full, half, ...
resolution), one per level but the last. Differences from the papers: "same" padding, and no dropout.
"""

from pydantic import Field

from scanloom.encoders._layers import activation, conv, ending, max_pool, norm, rank_of, require_divisible
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise


class Settings(Strict):
    """Size of the network."""

    levels: int = Field(4, ge=2, le=8, description="resolutions; edges must be multiples of 2^(levels - 1)")
    width: int = Field(16, ge=1, le=256, description="channels of the first level, doubled per level; 64 in the paper")


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, *spatial, channels] in [0, 1] to features [batch, D].

    D is width * 2^(levels - 1). Raises ValueError where a map cannot be halved evenly: a decoder doubles it again.
    """
    rank = rank_of(image_shape, "unet")
    require_divisible(image_shape, 2 ** (settings.levels - 1), "unet", "levels")
    inputs = x = keras.Input(image_shape, name="images")
    for level in range(1, settings.levels + 1):
        last = level == settings.levels
        x = _conv_norm_relu(x, settings.width * 2 ** (level - 1), rank, f"level{level}_1", f"level{level}_1_out")
        name = "feature_map" if last else f"skip{level}"
        x = _conv_norm_relu(x, settings.width * 2 ** (level - 1), rank, f"level{level}_2", name)
        x = x if last else max_pool(x, rank, f"level{level}_pool")
    return initialise(ending(inputs, x, rank, "unet"), seed)


def _conv_norm_relu(x, channels: int, rank: int, name: str, output_name: str):
    return activation(norm(conv(x, channels, 3, rank, f"{name}_conv"), f"{name}_norm"), output_name)

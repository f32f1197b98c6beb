"""Small networks without shortcuts, rank 2 or 3: LeNet and VGG.

lenet (LeCun et al., Gradient-based learning applied to document recognition, 1998): convolutions of 5x5 with 6, 16 and
120 channels, the mean of 2x2 places between them. vgg (Simonyan & Zisserman, arXiv 1409.1556): stages of 3x3
convolutions, each with batch normalisation and ReLU, the maximum of 2x2 places between stages and twice the channels,
up to 8 times those of the first. Differences from the papers: ReLU also in LeNet, "same" padding, and the mean over all
places instead of the dense layers, so any image size works.
"""

from typing import Literal

from pydantic import Field

from scanloom.encoders._layers import activation, average_pool, conv, ending, max_pool, norm, rank_of, require_smallest
from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.training.initial_weights import initialise

LENET_CHANNELS = (6, 16, 120)


class Settings(Strict):
    """Which of the two, and its size."""

    kind: Literal["lenet", "vgg"] = Field("vgg", description="lenet: 3 convolutions; vgg: as `stages` says")
    width: int = Field(16, ge=1, le=512, description="vgg: channels of the first stage; 64 in the paper")
    stages: tuple[int, ...] = Field(
        (1, 1, 2), min_length=1, description="vgg: convolutions per stage; (2, 2, 3, 3, 3) are those of VGG-16"
    )


def build(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """keras.Model from float32 images [batch, *spatial, channels] in [0, 1] to features [batch, D].

    D is 120 for lenet and for vgg the channels of the last stage. Raises ValueError for images that are too small to be
    halved between the stages.
    """
    rank = rank_of(image_shape, "small_cnn")
    halvings = len(LENET_CHANNELS if settings.kind == "lenet" else settings.stages) - 1
    require_smallest(image_shape, 2**halvings, "small_cnn", "kind or the number of stages")
    inputs = keras.Input(image_shape, name="images")
    x = _lenet(inputs, rank) if settings.kind == "lenet" else _vgg(inputs, settings, rank)
    return initialise(ending(inputs, x, rank, "small_cnn"), seed)


def _lenet(x, rank: int):
    for index, channels in enumerate(LENET_CHANNELS, start=1):
        last = index == len(LENET_CHANNELS)
        x = conv(x, channels, 5, rank, f"conv{index}", bias=True)
        x = activation(x, "feature_map" if last else f"relu{index}")
        x = x if last else average_pool(x, rank, f"pool{index}")
    return x


def _vgg(x, settings: Settings, rank: int):
    for stage, count in enumerate(settings.stages):
        if stage:
            x = max_pool(x, rank, f"stage{stage}_pool")
        for index in range(1, count + 1):
            name = f"stage{stage + 1}_{index}"
            x = norm(conv(x, settings.width * min(2**stage, 8), 3, rank, f"{name}_conv"), f"{name}_norm")
            last = stage == len(settings.stages) - 1 and index == count
            x = activation(x, "feature_map" if last else f"{name}_relu")
    return x

"""ImageNet: no pretraining here, the encoder's weights come from a file that someone else made.

The baseline that a medical pretraining has to beat. The file is local (`.keras`, `.h5` as keras.applications publishes
them, `.npz` of a PyTorch state dict); nothing is downloaded. It may as well hold an encoder that an earlier study made,
on another data set or another task. There is no loss. Which labels made the weights (ImageNet's 1.3 million) the study
cannot know; none of its own were used.
"""

import logging
from typing import Literal

from pydantic import Field

from scanloom.strict_models import Strict

TRAINS = False
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 0

log = logging.getLogger(__name__)


class Settings(Strict):
    """Which file, and what its weights expect."""

    file: str = Field(min_length=1, description="weight file (.keras, .h5, .npz), from the folder the study runs in")
    scale: Literal["unit", "imagenet", "symmetric", "caffe"] | None = Field(
        None,
        description="how images were scaled for these weights: unit: [0, 1]; imagenet: mean 0 and deviation 1 per "
        "channel; symmetric: [-1, 1]; caffe: blue, green, red minus their mean (keras.applications' ResNet and VGG). "
        "null: by the names in the file, unit for this library's, caffe and symmetric for keras.applications' ResNet "
        "and ResNetV2, else imagenet; without meaning for the encoder keras_application",
    )


def prepare(encoder, settings: Settings) -> None:
    """Fill the encoder. Raises ValueError where the file is of another network."""
    from scanloom.training.published_weights import load_published

    log.info("%s", load_published(encoder, settings.file, settings.scale))

"""Frozen 2.5D: a pretrained 2D encoder on the slices of three axes, pooled; the baseline of every 3D pretraining.

The method brings an encoder of its own, `slices_25d` with the 2D encoder named here, and fills it from a file; the
study's 3D encoder is not used. The frozen arm is the published baseline (Raptor: An et al., ICML 2025, arXiv
2507.08254, without its random projection); the finetuned arm trains the same network on. There is no loss, and no label
of the study is used.
"""

import logging
from typing import Literal

from pydantic import Field, model_validator

from scanloom.encoders import slices_25d
from scanloom.strict_models import Strict

TRAINS = False
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 0
RANKS = (3,)

log = logging.getLogger(__name__)


class Settings(Strict):
    """The 2D encoder and its weights."""

    file: str = Field(min_length=1, description="weight file of the 2D encoder, as for the method imagenet")
    encoder: str = Field("resnet", description="the 2D encoder: a file of scanloom/encoders")
    settings: dict = Field({}, description="its settings, those the file was made with")
    edge: int | None = Field(None, ge=2, description="volumes are padded to cubes of this edge; null: the longest edge")
    scale: Literal["unit", "imagenet", "symmetric", "caffe"] | None = Field(
        None, description="how images were scaled for these weights, as for the method imagenet"
    )

    @model_validator(mode="after")
    def _known(self):
        _network(self)
        return self


def own_encoder(settings: Settings, image_shape: tuple[int, ...], seed: int):
    """The network that takes the place of the study's encoder. Raises ValueError for rank 2."""
    return slices_25d.build(_network(settings), image_shape, seed)


def prepare(encoder, settings: Settings) -> None:
    """Fill the encoder. Raises ValueError where the file is of another network."""
    from scanloom.training.published_weights import load_published

    log.info("%s", load_published(encoder, settings.file, settings.scale))


def _network(settings: Settings) -> slices_25d.Settings:
    return slices_25d.Settings(encoder=settings.encoder, settings=settings.settings, edge=settings.edge)

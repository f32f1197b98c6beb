"""Relative patch location: where does a patch lie, seen from the patch in the middle of the image?

Two patches pass the same encoder; a head that sees both sets of features names one of the 8 neighbours (26 in volumes).
Who can tell knows how the parts of the objects lie to each other.

    L = - mean over images of log softmax(head(encoder(centre), encoder(neighbour)))_k

with k the neighbour in raster order without the centre. Doersch, Gupta & Efros, ICCV 2015, arXiv 1505.05192; volumes:
Taleb et al., NeurIPS 2020, arXiv 2006.03829. Differences from the first: a fixed grid over the whole image
as in the second; guards against shortcuts as in scanloom/methods/_patches.py (its own are
about gap 0.33, jitter 0.1 and channel_drop 1).
"""

import numpy as np
from pydantic import Field, field_validator

from scanloom.methods._patches import CellSettings, cell_grid, cut, draw_patches, numbers, patch_shape

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1


class Settings(CellSettings):
    """Grid, guards and head."""

    per_side: int = Field(3, ge=3, description="cells along each axis; odd, for there is a middle")
    head: tuple[int, ...] = Field((256,), description="hidden layer sizes of the classifier")

    @field_validator("per_side")
    @classmethod
    def _odd(cls, value: int) -> int:
        if value % 2 == 0:
            raise ValueError("must be odd: the other patch is seen from the one in the middle")
        return value


def encoder_shape(settings: Settings, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a patch."""
    return patch_shape(cell_grid(settings, settings.per_side, image_shape), image_shape)


def parts_per_image(settings: Settings, image_shape: tuple[int, ...]) -> int:
    """Patches that one image of an update is to the encoder."""
    return 2


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """neighbour int32 [batch], and how both patches are cut."""
    grid = cell_grid(settings, settings.per_side, image_shape)
    u = uniform(1 + numbers(2, image_shape))
    neighbour = (u[:, 0] * (grid.cells - 1)).astype(np.int32)
    centre = np.full_like(neighbour, grid.cells // 2)
    cells = np.stack([centre, neighbour + (neighbour >= centre)], axis=1)
    return {"neighbour": neighbour} | draw_patches(u[:, 1:], cells, grid, settings, image_shape)


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_pretext.py."""
    from scanloom.methods._pretext import PretextModel, answer_correct, answer_head, answer_loss

    grid = cell_grid(settings, settings.per_side, views.image_shape)

    def parts(images, draws):
        return cut(images, draws, grid, settings)

    head = answer_head(2, encoder.output.shape[-1], (), settings.head, grid.cells - 1, seed)
    return PretextModel(encoder, head, views, parts, answer_loss("neighbour"), answer_correct("neighbour"))

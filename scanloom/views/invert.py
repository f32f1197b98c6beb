"""Invert: black becomes white, x becomes 1 - x, as between two conventions of showing X-rays."""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict


class Settings(Strict):
    """How often."""

    p: float = Field(0.2, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """chosen bool [batch]."""
    return {"chosen": uniform(1)[:, 0] < settings.p}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels] in [0, 1]."""
    ops = keras.ops
    chosen = ops.reshape(draws["chosen"], (-1,) + (1,) * (len(images.shape) - 1))
    return ops.where(chosen, 1.0 - images, images)

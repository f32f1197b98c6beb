"""Solarise: values from a threshold on are inverted, x becomes 1 - x (one of the views of BYOL, arXiv 2006.07733)."""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict


class Settings(Strict):
    """From where on, how often."""

    threshold: float = Field(0.5, ge=0, lt=1, description="values from here on are inverted; images span [0, 1]")
    p: float = Field(0.2, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """chosen bool [batch]."""
    return {"chosen": uniform(1)[:, 0] < settings.p}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels] in [0, 1]."""
    ops = keras.ops
    chosen = ops.reshape(draws["chosen"], (-1,) + (1,) * (len(images.shape) - 1))
    return ops.where(chosen & (images >= settings.threshold), 1.0 - images, images)

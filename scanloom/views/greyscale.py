"""Greyscale: a colour image without its colours, all channels at its luminance (ITU-R BT.601)."""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.views._colour import luminance, three_channels


class Settings(Strict):
    """How often."""

    p: float = Field(0.2, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """chosen bool [batch]. Raises ValueError for images that are not of three channels."""
    if not three_channels(image_shape):
        raise ValueError(
            f"greyscale: images of shape {image_shape} have no colours; it needs 3 channels (red, green, blue). "
            "Take it out of `views`"
        )
    return {"chosen": uniform(1)[:, 0] < settings.p}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, 3]."""
    ops = keras.ops
    chosen = ops.reshape(draws["chosen"], (-1,) + (1,) * (len(images.shape) - 1))
    return ops.where(chosen, luminance(images), images)

"""Colour jitter: brightness, contrast, saturation and hue changed at random, in this order.

Brightness multiplies the values, contrast their distance from the image's mean luminance, saturation each pixel's
distance from its own luminance; hue is turned on the colour circle. After each the image is clipped to [0, 1]. The
factors are torchvision's (SimCLR, BYOL and Barlow Twins use them), their order there is random. Images that are not of
three channels get brightness and contrast alone, around the mean of all channels.
"""

import numpy as np
from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict
from scanloom.views._colour import hue_turned, luminance, three_channels


class Settings(Strict):
    """How much of each, how often."""

    brightness: float = Field(0.4, ge=0, le=1, description="values are multiplied by 1 - this to 1 + this")
    contrast: float = Field(0.4, ge=0, le=1, description="the same for the distance from the mean luminance")
    saturation: float = Field(0.2, ge=0, le=1, description="the same for the distance from each pixel's luminance")
    hue: float = Field(0.1, ge=0, le=0.5, description="largest turn either way; 0.5 is half the circle")
    p: float = Field(0.8, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """brightness, contrast, saturation (1: unchanged) and hue (0: unchanged), float32 [batch]."""
    u = uniform(5)
    way = (2 * u[:, 1:] - 1) * (u[:, :1] < settings.p)
    strength = np.array([settings.brightness, settings.contrast, settings.saturation, settings.hue])
    change = (way * strength).astype(np.float32)
    drawn = {"brightness": 1 + change[:, 0], "contrast": 1 + change[:, 1]}
    if three_channels(image_shape):
        drawn |= {"saturation": 1 + change[:, 2], "hue": change[:, 3]}
    return drawn


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels], clipped to [0, 1]."""
    ops = keras.ops
    factor = {name: ops.reshape(values, (-1,) + (1,) * (len(images.shape) - 1)) for name, values in draws.items()}
    colour = "saturation" in draws
    images = ops.clip(images * factor["brightness"], 0.0, 1.0)
    grey = luminance(images) if colour else images
    mean = ops.mean(grey, axis=tuple(range(1, len(images.shape))), keepdims=True)
    images = ops.clip(mean + (images - mean) * factor["contrast"], 0.0, 1.0)
    if colour:
        grey = luminance(images)
        images = ops.clip(grey + (images - grey) * factor["saturation"], 0.0, 1.0)
        images = hue_turned(images, factor["hue"]) if settings.hue else images
    return images

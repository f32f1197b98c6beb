"""Brightness and contrast: (image - mean) * contrast + mean + brightness, mean over the image's pixels and channels."""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict


class Settings(Strict):
    """How much, how often."""

    brightness: float = Field(0.1, ge=0, le=1, description="largest shift either way; images span [0, 1]")
    contrast: float = Field(0.2, ge=0, le=1, description="contrast is multiplied by 1 - this to 1 + this")
    p: float = Field(0.5, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """brightness, contrast float32 [batch]; 0 and 1 where the image stays as it is."""
    u = uniform(3)
    chosen = u[:, 0] < settings.p
    brightness = (2 * u[:, 1] - 1) * settings.brightness * chosen
    contrast = 1 + (2 * u[:, 2] - 1) * settings.contrast * chosen
    return {"brightness": brightness.astype("float32"), "contrast": contrast.astype("float32")}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels], clipped to [0, 1]."""
    ops = keras.ops
    ones = (-1,) + (1,) * (len(images.shape) - 1)
    mean = ops.mean(images, axis=tuple(range(1, len(images.shape))), keepdims=True)
    contrast = ops.reshape(draws["contrast"], ones)
    # (image - mean) * contrast + mean + brightness, with what is one number per image added up first.
    shift = mean * (1.0 - contrast) + ops.reshape(draws["brightness"], ones)
    return ops.clip(images * contrast + shift, 0.0, 1.0)

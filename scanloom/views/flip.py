"""Flip: the image mirrored along chosen axes, each with its own probability."""

from pydantic import Field, model_validator

from scanloom.lazy import keras
from scanloom.strict_models import Strict


class Settings(Strict):
    """Which axes, how often."""

    axes: tuple[int, ...] = Field(
        (-1,), min_length=1, description="spatial axes, counted from the last: -1 left-right, -2 up-down"
    )
    p: float = Field(0.5, ge=0, le=1, description="probability of each axis")

    @model_validator(mode="after")
    def _once(self):
        if len(set(self.axes)) < len(self.axes):
            raise ValueError(
                f"axes {list(self.axes)}: each may stand there once; two flips of one axis undo each other"
            )
        return self


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """flipped bool [batch, len(axes)]."""
    rank = len(image_shape) - 1
    wrong = [axis for axis in settings.axes if not -rank <= axis < 0]
    if wrong:
        raise ValueError(f"flip: axes {wrong} do not exist; images of rank {rank} have axes -{rank} to -1")
    return {"flipped": uniform(len(settings.axes)) < settings.p}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels] with the drawn ones mirrored."""
    ops = keras.ops
    for k, axis in enumerate(settings.axes):
        chosen = ops.reshape(draws["flipped"][:, k], (-1,) + (1,) * (len(images.shape) - 1))
        images = ops.where(chosen, ops.flip(images, axis=axis - 1), images)
    return images


def reorder(matrices: list, draws: dict, settings: Settings) -> list:
    """Matrices [batch, out, in], one per spatial axis, whose images come out mirrored where drawn."""
    ops = keras.ops
    matrices = list(matrices)
    for k, axis in enumerate(settings.axes):
        chosen = ops.reshape(draws["flipped"][:, k], (-1, 1, 1))
        matrices[axis] = ops.where(chosen, ops.flip(matrices[axis], axis=1), matrices[axis])
    return matrices

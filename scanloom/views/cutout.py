"""Cutout: a random box of the image set to 0 (DeVries & Taylor, arXiv 1708.04552); the box lies fully inside."""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.strict_models import Strict


class Settings(Strict):
    """How large, how often."""

    side: float = Field(0.25, gt=0, lt=1, description="side of the box as a share of the image's side")
    p: float = Field(0.5, ge=0, le=1, description="probability")


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """start float32 [batch, rank] in pixels; -1e6 (outside) where the image stays as it is."""
    spatial = image_shape[:-1]
    u = uniform(1 + len(spatial))
    room = [n - max(1, round(n * settings.side)) + 1 for n in spatial]
    start = (u[:, 1:] * room).astype("int32").astype("float32")
    start[u[:, 0] >= settings.p] = -1e6
    return {"start": start}


def apply(images, draws: dict, settings: Settings):
    """Images [batch, *spatial, channels] with the boxes set to 0."""
    ops = keras.ops
    rank = len(images.shape) - 2
    inside = None
    for k in range(rank):
        n = images.shape[1 + k]
        offset = ops.expand_dims(ops.arange(n, dtype="float32"), 0) - draws["start"][:, k : k + 1]
        within = ops.cast((offset >= 0) & (offset < max(1, round(n * settings.side))), "float32")
        within = ops.reshape(within, (-1, *(n if axis == k else 1 for axis in range(rank)), 1))
        inside = within if inside is None else inside * within
    return images * (1.0 - inside)

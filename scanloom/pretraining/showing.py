"""What a method that makes images gives to be looked at, kept and scored.

Such a method has `showing(settings, model) -> Showing`, called once, after the model was built.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


def _nothing(real, made) -> dict:
    return {}


@dataclass(frozen=True)
class Showing:
    """What can be asked of a built model.

    generator: Keras model from standard normal noise [batch, latent] to images [batch, *spatial, channels] in [0, 1].
    networks: Keras models that are kept beside the encoder, by the stem of their file; made of the model's own layers.
    pictures(real, made) -> {name: images}: what else is worth a look beside real and generated images.
    codes(real) -> (mean, log_variance), float32 [batch, latent] each: the posterior of images in the space that the
    generator starts from, where there is one. Images are float32 in [0, 1].
    """

    generator: object
    networks: dict = field(default_factory=dict)
    pictures: Callable = _nothing
    codes: Callable | None = None

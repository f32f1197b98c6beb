"""Small settings of every encoder, for tests of what all have in common; run as a command: small_encoders.py OUT.npz.

As a command it writes weights and features on whatever backend runs, so that backends can be compared.
"""

import sys

import numpy as np

from scanloom import plugins
from scanloom.training.backend import compiles

SETTINGS = {
    "resnet": {"depth": 10, "width": 4},
    "densenet": {"depth": None, "blocks": (2, 2), "growth": 4},
    "unet": {"levels": 3, "width": 4},
    "vit": {"patch": 4, "width": 24, "depth": 2},
    "convnext": {"depths": (1, 1), "width": 8},
    "small_cnn": {"width": 4},
    "discriminator": {"width": 4},
    "keras_application": {"name": "MobileNet"},
    "slices_25d": {"settings": {"depth": 10, "width": 4}},
}
SHAPES = {"keras_application": [(32, 32, 1)], "slices_25d": [(8, 8, 8, 1), (8, 6, 8, 2)]}
VARIANTS = [
    *SETTINGS.items(),
    ("resnet", {"depth": 10, "width": 4, "version": 2, "stem": "strided"}),
    ("resnet", {"depth": 10, "width": 4, "stem": "imagenet", "padding": "symmetric"}),
    ("vit", {"patch": 4, "width": 24, "depth": 1, "pooling": "class", "positions": "learned"}),
    ("small_cnn", {"kind": "lenet"}),
    ("discriminator", {"kind": "residual", "width": 4, "normalisation": "layer"}),
]


def build(name: str, shape: tuple[int, ...], seed: int = 0, settings: dict | None = None):
    """The encoder, small."""
    checked = plugins.settings("encoders", name, SETTINGS.get(name) if settings is None else settings)
    return plugins.load("encoders", name).build(checked, shape, seed)


def shapes(name: str) -> list[tuple[int, ...]]:
    """Image shapes to try, grey and colour, of the ranks that the encoder takes."""
    return SHAPES.get(name, [(16, 24, 3), (8, 12, 16, 1)])


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Two random images."""
    return np.random.default_rng(0).random((2, *shape)).astype(np.float32)


def found() -> dict[str, np.ndarray]:
    """The weights of every encoder, and features of those that are more than plain convolutions."""
    made = {}
    for name in sorted(set(SETTINGS) - {"keras_application"}):  # its 3 million weights are drawn like the others'
        shape = shapes(name)[-1]
        encoder = build(name, shape, 3)
        made[f"{name} weights"] = np.concatenate([np.ravel(w) for w in encoder.get_weights()])
        if name in ("vit", "convnext", "slices_25d"):
            encoder.compile(jit_compile=compiles())
            made[f"{name} features"] = np.asarray(encoder.predict_on_batch(images(shape)))
    return made


if __name__ == "__main__":
    np.savez(sys.argv[1], **found())

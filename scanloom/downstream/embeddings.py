"""Encoders at work without training: features of many images, in inference mode, batch by batch."""

from collections.abc import Callable

import numpy as np

from scanloom.images.intensity import to_unit
from scanloom.lazy import keras
from scanloom.training.backend import compiles


def inference(model) -> Callable[[np.ndarray], np.ndarray]:
    """A compiled function from float32 images to the model's output, with batch norm in inference mode.

    It sees the weights as they are at each call. The given model keeps its own compilation.
    """
    twin = keras.Model(model.input, model.output, name=f"{model.name}_inference")
    twin.compile(jit_compile=compiles())

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(twin.predict_on_batch(images))

    return run


def apply_in_batches(run: Callable, images_of: Callable, n: int, batch: int) -> np.ndarray:
    """Outputs float32 `[n, D]` of `run` (see `inference`) for images 0..n-1, at most `batch` in memory at a time.

    images_of(indices) gives stored integer images `[len(indices), *spatial, channels]`. The last batch is filled up
    with repeated images, so that one batch shape, and one compilation, serves all.
    """
    if n < 1 or batch < 1:
        raise ValueError(f"n ({n}) and batch ({batch}) must be at least 1")
    batch = min(batch, n)
    parts = []
    for start in range(0, n, batch):
        indices = np.minimum(np.arange(start, start + batch), n - 1)
        parts.append(run(to_unit(np.asarray(images_of(indices))))[: n - start])
    return np.concatenate(parts).astype(np.float32)


def embed(encoder, images_of: Callable, n: int, batch: int = 256) -> np.ndarray:
    """Features float32 `[n, D]` of the images 0..n-1 that `images_of(indices)` gives as uint8 or uint16."""
    return apply_in_batches(inference(encoder), images_of, n, batch)

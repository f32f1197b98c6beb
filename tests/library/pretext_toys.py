"""A small encoder and a short training: what the tests of methods about parts of images share."""

import keras
import numpy as np

from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.branches import METHOD_PREFIX
from scanloom.training.initial_weights import initialise


def small_encoder(shape: tuple[int, ...], features: int = 16):
    """Two Dense layers over all pixels: an update costs milliseconds."""
    inputs = keras.Input(shape)
    x = keras.layers.Flatten()(inputs)
    x = keras.layers.Dense(32, activation="relu")(x)
    return initialise(keras.Model(inputs, keras.layers.Dense(features, activation="relu")(x), name="toy"), 0)


def cells_of(per_side: int, cell: int, rank: int) -> np.ndarray:
    """uint8 [*spatial, 1]: every cell filled with its number in raster order."""
    numbers = np.arange(per_side**rank).reshape((per_side,) * rank)
    for axis in range(rank):
        numbers = numbers.repeat(cell, axis)
    return numbers[..., None].astype(np.uint8)


def batch_of(method, settings, images: np.ndarray, seed: int = 0) -> dict:
    """The batch dict of these uint8 images, without views."""
    keys = keys_of(range(len(images)))
    batch = {"images": images} | draws(method, settings, Pipeline([], images.shape[1:]), seed, 0, keys)
    return batch | {"step": np.zeros(len(images), np.int32), "progress": np.zeros(len(images), np.float32)}


def make(method, settings, image_shape: tuple[int, ...]):
    """The method's model around the small encoder."""
    shape = method.encoder_shape(settings, image_shape) if hasattr(method, "encoder_shape") else image_shape
    return method.build(small_encoder(shape), settings, Pipeline([], image_shape), 0)


def drawn(batch: dict, name: str) -> np.ndarray:
    """One of the method's own draws."""
    return batch[METHOD_PREFIX + name]


def after_training(method, settings, images_at, updates: int, rate: float = 0.01) -> dict[str, float]:
    """Loss and accuracy on images never trained on; images_at(step) -> uint8 [batch, *spatial, channels]."""
    model = make(method, settings, images_at(0).shape[1:])
    model.compile(optimizer=keras.optimizers.Adam(rate), jit_compile=False)
    for step in range(updates):
        model.train_on_batch(batch_of(method, settings, images_at(step), seed=step))
    found = model.test_on_batch(batch_of(method, settings, images_at(10_000), 10_000), return_dict=True)
    return {name: float(value) for name, value in found.items()}

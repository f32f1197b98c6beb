"""The network of contrastive predictive coding behind the encoder: codes, context pyramid, predictions.

Importing this imports Keras, so methods do it inside `build`.
"""

import itertools
import zlib

import keras
import numpy as np

from scanloom.training.initial_weights import initialise


def context_head(settings, shape: tuple[int, ...], skip: int, features: int, seed: int):
    """Model from features [batch, patches, features] to two lists, "predictions" and "answers".

    Each holds one [batch, rows, *others, target] per step, a row fewer at each.
    shape: patches along each axis, in raster order. Step k (from 1) predicts the patch skip + k rows below.
    settings: those of scanloom/methods/cpc.py.
    """
    inputs = keras.Input((int(np.prod(shape)), features), name="features")
    grid = keras.layers.Reshape((*shape, features))(inputs)
    code = keras.layers.Dense(settings.code, name="code")(grid)
    pyramid = _convolved if settings.context == "convolution" else _recurrent
    context = pyramid(code, settings.context_rows, seed)
    answers = keras.layers.Dense(settings.target, use_bias=False, name="answers")(grid)
    below = [skip + step for step in range(1, settings.steps + 1)]
    predict = [keras.layers.Dense(settings.target, use_bias=False, name=f"below{rows}") for rows in below]
    outputs = {
        "predictions": [layer(context[:, : shape[0] - rows]) for layer, rows in zip(predict, below, strict=True)],
        "answers": [answers[:, rows:] for rows in below],
    }
    return initialise(keras.Model(inputs, outputs, name="head"), seed)


def pyramid_cells(shape: tuple[int, ...], rows: int) -> np.ndarray:
    """int32 [patches, T]: the patches in the pyramid above each place, the farthest row first, its own last.

    The pyramid of place (r, c) holds (r - j, c - j .. c + j) for j < rows; places outside the grid are given as the
    number of patches.
    """
    offsets = [
        (-back, *across)
        for back in reversed(range(rows))
        for across in itertools.product(range(-back, back + 1), repeat=len(shape) - 1)
    ]
    places = np.stack(np.unravel_index(np.arange(np.prod(shape)), shape), axis=-1)
    seen = places[:, None] + np.array(offsets)
    inside = ((seen >= 0) & (seen < shape)).all(axis=-1)
    flat = np.ravel_multi_index(tuple(np.moveaxis(np.where(inside[..., None], seen, 0), -1, 0)), shape)
    return np.where(inside, flat, np.prod(shape)).astype(np.int32)


def _convolved(code, rows: int, seed: int):
    """Residual layers that each look one row up and one patch to all sides there: together the pyramid."""
    rank, size = len(code.shape) - 2, code.shape[-1]
    conv = keras.layers.Conv2D if rank == 2 else keras.layers.Conv3D
    pad = keras.layers.ZeroPadding2D if rank == 2 else keras.layers.ZeroPadding3D
    crop = keras.layers.Cropping2D if rank == 2 else keras.layers.Cropping3D
    still = ((0, 0),) * (rank - 1)
    x = code
    for layer in range(1, rows):
        above = crop(((0, 1), *still))(pad(((1, 0), *still))(x))
        above = conv(size, (1, *(3,) * (rank - 1)), padding="same", name=f"above{layer}")(above)
        y = keras.layers.Activation("relu")(keras.layers.Add()([conv(size, 1, name=f"here{layer}")(x), above]))
        x = keras.layers.Add()([x, conv(size, 1, name=f"mix{layer}")(y)])
    return keras.layers.Activation("relu", name="context")(x)


def _recurrent(code, rows: int, seed: int):
    """A recurrent network over the pyramid's patches, from the farthest row to the tip."""
    shape, size = code.shape[1:-1], code.shape[-1]
    cells = pyramid_cells(shape, rows)
    patches, length = cells.shape
    flat = keras.layers.ZeroPadding1D((0, 1))(keras.layers.Reshape((patches, size))(code))
    sequences = keras.ops.reshape(keras.ops.take(flat, cells, axis=1), (-1, length, size))

    def drawn(name: str):
        # Keras would draw these with the backend's own generator; `initialise` reaches plain kernels only.
        def values(shape, dtype=None):
            generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
            return keras.ops.convert_to_tensor(generator.uniform(-1, 1, shape) / np.sqrt(shape[0]), dtype)

        return values

    kernels = {"kernel_initializer": drawn("kernel"), "recurrent_initializer": drawn("recurrent")}
    context = keras.layers.GRU(size, name="context", seed=0, **kernels)(sequences)  # of dropout, which it has not
    return keras.ops.reshape(context, (-1, *shape, size))

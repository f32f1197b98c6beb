"""One table of random numbers, read from a random place per image: noise without drawing a number per pixel.

Drawing a number per pixel would cost more than all other views together, on the host as in the step. Instead the step
holds one table of 2^20 numbers, the same on every backend, and each image of each epoch reads it from its own random
place. Noise of different images is independent as long as their windows into the table do not overlap exactly; a
network cannot learn a table it sees through a million different offsets. Images of more numbers than the table has
read it again, in another order each time.
"""

import functools
import math

import numpy as np

from scanloom.lazy import keras

TABLE = 2**20


def read(offset, shape: tuple[int, ...], kind: str):
    """float32 [batch, *shape]: the numbers from `offset` int32 [batch] on; kind: "normal" or "uniform"."""
    ops = keras.ops
    within = ops.arange(math.prod(shape), dtype="int32")
    # Behind the table's end it is read in steps of 3, 5, ..., which meet the numbers in another order.
    within = within % TABLE * (1 + 2 * (within // TABLE))
    places = ops.expand_dims(offset, 1) + ops.expand_dims(within, 0)
    return ops.reshape(ops.take(ops.convert_to_tensor(table(kind)), places % TABLE, axis=0), (-1, *shape))


@functools.cache
def table(kind: str) -> np.ndarray:
    """float32 [TABLE]: normal numbers of mean 0 and variance 1, or uniform ones in [0, 1)."""
    generator = np.random.default_rng([20, 0xB0E5])
    return generator.standard_normal(TABLE, np.float32) if kind == "normal" else generator.random(TABLE, np.float32)

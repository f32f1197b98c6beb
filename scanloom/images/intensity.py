"""Stored integers to network inputs: one place says what the value 1.0 means.

Shards hold uint8 or uint16. Training (inside the compiled step), embedding and explanation all divide by the largest
integer of the stored type, so an image means the same to a network wherever it meets it.
"""

import numpy as np

from scanloom.lazy import keras

LARGEST = {"uint8": 255.0, "uint16": 65535.0}


def to_unit(images):
    """Images as float32 in [0, 1]; NumPy arrays stay NumPy arrays, tensors stay tensors of the running backend.

    images: uint8 or uint16 of any shape, divided by 255 or 65535. Raises TypeError for another type, because a float
    image would already have a scale that nobody here knows.
    """
    is_array = isinstance(images, np.ndarray)
    dtype = str(images.dtype) if is_array else keras.backend.standardize_dtype(images.dtype)
    if dtype not in LARGEST:
        raise TypeError(f"images are {dtype}; to_unit takes stored images: {', '.join(LARGEST)}")
    if is_array:
        return images.astype(np.float32) / np.float32(LARGEST[dtype])
    return keras.ops.cast(images, "float32") / LARGEST[dtype]

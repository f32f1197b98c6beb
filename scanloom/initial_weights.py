"""First weights from a seed, the same numbers on every backend.

Keras draws initial weights with the backend's own generator, so a seed means other numbers under JAX than under
TensorFlow. Here NumPy draws them: one generator per (seed, model name, layer), so no two layers
start alike and a layer added at the end changes no other.
"""

import zlib

import numpy as np


def initialise(model, seed: int):
    """`model` with new kernels; biases and normalisations keep what their layers were made with.

    Convolutions: normal with variance 2 / fan-out (He et al., arXiv 1502.01852, equation 14). Dense layers: uniform
    within 1 / sqrt(fan-in), as in the reference code of Barlow Twins.
    """
    for index, layer in enumerate(model.layers):
        kernel = getattr(layer, "kernel", None)
        if kernel is None:
            continue
        generator = np.random.default_rng([seed, zlib.crc32(model.name.encode()), index])
        shape = tuple(kernel.shape)
        if len(shape) > 2:
            fan_out = np.prod(shape[:-2]) * shape[-1]
            values = generator.standard_normal(shape) * np.sqrt(2.0 / fan_out)
        else:
            values = generator.uniform(-1.0, 1.0, shape) / np.sqrt(shape[0])
        kernel.assign(values.astype(np.float32))
    return model

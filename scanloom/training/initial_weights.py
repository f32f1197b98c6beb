"""First weights from a seed, the same numbers on every backend.

Keras draws initial weights with the backend's own generator, so a seed means other numbers under JAX than under
TensorFlow. Here NumPy draws them: one generator per (seed, model name, layer), so no two layers
start alike and a layer added at the end changes no other.
"""

import math
import zlib

import numpy as np

from scanloom.lazy import keras

EMBEDDING_STD = 0.02


def initialise(model, seed: int):
    """`model` with new kernels; biases, normalisations and scales keep what their layers were made with.

    Convolutions: normal with variance 2 / fan-out (He et al., arXiv 1502.01852, equation 14), where a filter of one of
    g groups counts out / g channels. Dense layers, and convolutions whose kernels meet without overlap, which are dense
    layers on patches: uniform within 1 / sqrt(fan-in), as in the reference code of Barlow Twins; attention the same for
    each of its four projections. Embeddings (class tokens, learnt positions): normal with standard deviation 0.02
    (Dosovitskiy et al., arXiv 2010.11929). Models inside the model are treated like their layers.
    """
    name = zlib.crc32(model.name.encode())
    for index, layer in enumerate(model.layers):
        if isinstance(layer, keras.Model):
            initialise(layer, int(np.random.default_rng([seed, name, index]).integers(2**31)))
            continue
        for part, (variable, draw) in enumerate(_drawn_variables(layer)):
            key = [seed, name, index] if part == 0 else [seed, name, index, part]
            variable.assign(draw(np.random.default_rng(key), tuple(variable.shape)).astype(np.float32))
    return model


def kernels(model) -> list[tuple]:
    """(variable, numbers that each output is a sum of) for every kernel of the model, embeddings left out."""
    layers = keras.layers
    found = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            found += kernels(layer)
        elif isinstance(layer, layers.MultiHeadAttention):
            found += [(dense.kernel, _fan_in(dense)) for dense in _projections(layer)]
        elif isinstance(layer, layers.EinsumDense):
            found += [(layer.kernel, _fan_in(layer))] if len(layer.kernel.shape) > 1 else []
        elif isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
            found += [(layer.depthwise_kernel, math.prod(layer.kernel_size))]
            found += [(layer.pointwise_kernel, math.prod(layer.pointwise_kernel.shape[:-1]))]
        elif isinstance(layer, layers.DepthwiseConv1D | layers.DepthwiseConv2D):
            found.append((layer.kernel, math.prod(layer.kernel_size)))
        elif getattr(layer, "kernel", None) is not None:
            found.append((layer.kernel, math.prod(layer.kernel.shape[:-1])))
    return found


def _drawn_variables(layer) -> list:
    """The layer's variables that start at random, each with its distribution: (generator, shape) -> array."""
    layers = keras.layers
    if isinstance(layer, layers.MultiHeadAttention):
        return [pair for dense in _projections(layer) for pair in _drawn_variables(dense)]
    if isinstance(layer, layers.Embedding):
        return [(layer.embeddings, lambda generator, shape: generator.standard_normal(shape) * EMBEDDING_STD)]
    if isinstance(layer, layers.EinsumDense):
        # A kernel with one axis is a scale per channel, no sum: it keeps its start.
        return [(layer.kernel, _uniform(_fan_in(layer)))] if len(layer.kernel.shape) > 1 else []
    if isinstance(layer, layers.SeparableConv1D | layers.SeparableConv2D):
        return [(layer.depthwise_kernel, _normal(layer)), (layer.pointwise_kernel, _normal(layer))]
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return []
    if len(kernel.shape) <= 2:
        return [(kernel, _uniform(kernel.shape[0]))]
    tiles = math.prod(layer.kernel_size) > 1 and tuple(layer.strides) == tuple(layer.kernel_size)
    return [(kernel, _uniform(math.prod(kernel.shape[:-1])) if tiles and not _transposed(layer) else _normal(layer))]


def _projections(attention) -> tuple:
    """The four layers inside an attention layer that hold its kernels."""
    return attention.query_dense, attention.key_dense, attention.value_dense, attention.output_dense


def _normal(layer):
    groups = getattr(layer, "groups", 1)

    def draw(generator, shape):
        out = shape[-2] if _transposed(layer) else shape[-1] / groups
        return generator.standard_normal(shape) * np.sqrt(2.0 / (np.prod(shape[:-2]) * out))

    return draw


def _uniform(fan_in: int):
    return lambda generator, shape: generator.uniform(-1.0, 1.0, shape) / np.sqrt(fan_in)


def _fan_in(dense) -> int:
    """Numbers that each output of an EinsumDense is a sum of: the kernel's axes that the output has not."""
    inputs, output = dense.equation.split("->")
    axes = inputs.split(",")[1]
    return math.prod(size for axis, size in zip(axes, dense.kernel.shape, strict=True) if axis not in output)


def _transposed(layer) -> bool:
    """Transposed convolutions keep the output channels on the kernel's last axis but one."""
    return "Transpose" in type(layer).__name__

"""Views: random augmentations drawn on the host, applied to whole batches inside the compiled step.

A view plug-in has `draw(uniform, settings, image_shape)`, which turns uniform numbers into a few parameters per image
(NumPy), and one of

- `apply(images, draws, settings)`: the batch changed (keras.ops), or
- `matrices(draws, spatial, settings)`: one `[batch, out, in]` matrix per axis, for views that are linear and separable.

Matrices of neighbours are multiplied and applied once per axis: crop, resize and blur together cost one
small batched matrix product per axis. Besides `apply` a view may have `reorder(matrices, draws, settings)`: what it
does to images, done to the rows of matrices that wait to be applied, which costs less. Nothing is random inside the
step, so both backends make the same views.
"""

import numpy as np

from scanloom import plugins
from scanloom.lazy import keras
from scanloom.stateless_random import uniform


class Pipeline:
    """The views of a study in order: `draw` on the host, `apply` in the step.

    views: (name, settings) pairs; settings as a mapping or as the plug-in's Settings.
    image_shape: (*spatial, channels) of the images that come in and go out.
    """

    def __init__(self, views, image_shape: tuple[int, ...]):
        self.image_shape = tuple(int(size) for size in image_shape)
        self.names = [name for name, _ in views]
        self._views = []
        for position, (name, settings) in enumerate(views):
            checked = plugins.settings("views", name, settings) if isinstance(settings, dict | None) else settings
            self._views.append((f"{position}.{name}", plugins.load("views", name), checked))

    def draw(self, seed: int, branch: int, epoch: int, item_keys: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters of every view for these items: arrays `[batch, ...]` under "position.view.parameter".

        They depend on (seed, branch, epoch, item, view and its position) only, not on the batch an item is in.
        """
        drawn = {}
        for prefix, view, settings in self._views:

            def of_this_view(*size: int, prefix: str = prefix) -> np.ndarray:
                return uniform(seed, prefix, branch, epoch, item_keys, size=size)

            for name, values in view.draw(of_this_view, settings, self.image_shape).items():
                drawn[f"{prefix}.{name}"] = values
        return drawn

    def apply(self, images, draws: dict):
        """The views of float32 `images` [batch, *spatial, channels] in [0, 1]; they stay there.

        draws: what `draw` made, as tensors or arrays.
        """
        spatial = self.image_shape[:-1]
        pending = None
        for prefix, view, settings in self._views:
            own = {k.removeprefix(prefix + "."): v for k, v in draws.items() if k.startswith(prefix + ".")}
            if hasattr(view, "matrices"):
                new = view.matrices(own, spatial, settings)
                pending = (
                    new if pending is None else [keras.ops.matmul(n, p) for n, p in zip(new, pending, strict=True)]
                )
            elif pending is not None and hasattr(view, "reorder"):
                pending = view.reorder(pending, own, settings)
            else:
                images = view.apply(apply_matrices(images, pending), own, settings)
                pending = None
        return keras.ops.clip(apply_matrices(images, pending), 0.0, 1.0)


def apply_matrices(images, matrices):
    """Images `[batch, *spatial, channels]` with `matrices[k]` `[batch, out, in]` multiplied along spatial axis k.

    Each product is a batched matrix product on a reshaped view of the images. Products with a few channels as their
    columns are slow, so the last axis is moved to the front and back; it comes first, because then all branches of a
    step share the first move (TensorFlow merges equal operations).
    """
    if matrices is None:
        return images
    ops = keras.ops
    rank = len(matrices)
    to_front, to_back = [0, rank, *range(1, rank), rank + 1], [0, *range(2, rank + 1), 1, rank + 1]
    for axis in (rank, *range(1, rank)):
        matrix, size, new = matrices[axis - 1], images.shape[axis], matrices[axis - 1].shape[1]
        before, after = list(images.shape[1:axis]), list(images.shape[axis + 1 :])
        if after == [1]:
            rows = ops.reshape(images, (-1, int(np.prod(before)), size))
            product = ops.matmul(rows, ops.transpose(matrix, (0, 2, 1)))
        elif axis == rank:
            columns = ops.reshape(ops.transpose(images, to_front), (-1, size, int(np.prod(before + after))))
            product = ops.reshape(ops.matmul(matrix, columns), (-1, new, *before, *after))
            product = ops.transpose(product, to_back)
        elif axis == 1:
            product = ops.matmul(matrix, ops.reshape(images, (-1, size, int(np.prod(after)))))
        else:
            blocks = ops.reshape(images, (-1, int(np.prod(before)), size, int(np.prod(after))))
            product = ops.matmul(ops.expand_dims(matrix, 1), blocks)
        images = ops.reshape(product, (-1, *before, new, *after))
    return images

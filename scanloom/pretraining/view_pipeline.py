"""Views: random augmentations drawn on the host, applied to whole batches inside the compiled step.

A view plug-in has `draw(uniform, settings, image_shape)`, which turns uniform numbers into a few parameters per image
(NumPy), and one of

- `apply(images, draws, settings)`: the batch changed (keras.ops),
- `matrices(draws, spatial, settings)`: one `[batch, out, in]` matrix per axis, for views that are linear and separable,
- `coordinates(places, draws, spatial, settings)`: where each place of the view is in the image, for views that turn or
  bend it (scanloom/views/_resample.py); a setting `outside` says what is beyond the image. With `ONLY_AT_PIXELS` its
  places must be the pixels.

Matrices of neighbours are multiplied and applied once per axis: crop, resize and blur together cost one
small batched matrix product per axis. Coordinates of neighbours are chained, and the image is read once. Besides
`apply` a view may have `reorder(matrices, draws, settings)`: what it does to images, done to the rows of matrices that
wait to be applied, which costs less. Nothing is random inside the step, so both backends make the same views.
"""

import numpy as np

from scanloom import plugins
from scanloom.lazy import keras
from scanloom.stateless_random import uniform
from scanloom.views._resample import brought_inside, grid, sample, share_inside


class Pipeline:
    """The views of a study in order: `draw` on the host, `apply` in the step.

    views: (name, settings) pairs; settings as a mapping or as the plug-in's Settings. A mapping {branch_1: pairs,
    branch_2: pairs} gives the branches different views; a method with more branches starts again from the first.
    image_shape: (*spatial, channels) of the images that come in and go out.
    """

    def __init__(self, views, image_shape: tuple[int, ...]):
        self.image_shape = tuple(int(size) for size in image_shape)
        of_branches = [(f"{branch}.", listed) for branch, listed in views.items()] if isinstance(views, dict) else None
        self._branches = [
            [_loaded(f"{prefix}{position}.", *view) for position, view in enumerate(listed)]
            for prefix, listed in of_branches or [("", views)]
        ]
        self.names = list(dict.fromkeys(name for branch in self._branches for name, *_ in branch))

    def draw(self, seed: int, branch: int, epoch: int, item_keys: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters of every view for these items: arrays `[batch, ...]` under "position.view.parameter".

        They depend on (seed, branch, epoch, item, view and its position) only, not on the batch an item is in.
        """
        drawn = {}
        for _, prefix, view, settings in self._branches[branch % len(self._branches)]:

            def of_this_view(*size: int, prefix: str = prefix) -> np.ndarray:
                return uniform(seed, prefix, branch, epoch, item_keys, size=size)

            for name, values in view.draw(of_this_view, settings, self.image_shape).items():
                drawn[f"{prefix}.{name}"] = values
        return drawn

    def apply(self, images, draws: dict):
        """The views of float32 `images` [batch, *spatial, channels] in [0, 1]; they stay there.

        draws: what `draw` made for a branch, as tensors or arrays; its keys say which branch it is.
        """
        waiting = _Waiting(self.image_shape[:-1])
        for _, prefix, view, settings in self._branch_of(draws):
            own = {k.removeprefix(prefix + "."): v for k, v in draws.items() if k.startswith(prefix + ".")}
            if hasattr(view, "matrices"):
                images = waiting.add_matrices(images, view.matrices(own, waiting.spatial, settings))
            elif hasattr(view, "coordinates"):
                images = waiting.add_coordinates(images, view, own, settings)
            elif waiting.matrices is not None and hasattr(view, "reorder"):
                waiting.matrices = view.reorder(waiting.matrices, own, settings)
            else:
                images = view.apply(waiting.done(images), own, settings)
        return keras.ops.clip(waiting.done(images), 0.0, 1.0)

    def _branch_of(self, draws: dict) -> list:
        if len(self._branches) == 1:
            return self._branches[0]
        given = {key.rpartition(".")[0] for key in draws}
        for branch in self._branches:
            if {prefix for _, prefix, *_ in branch} == given:
                return branch
        raise ValueError(f"these draws belong to no branch of the pipeline: views {sorted(given) or 'none'}")


class _Waiting:
    """Matrices, or coordinates, of neighbouring views that are still to be applied to the images."""

    def __init__(self, spatial: tuple[int, ...]):
        self.spatial, self.matrices, self._moves, self._closed = spatial, None, [], False

    def add_matrices(self, images, new: list):
        if self.matrices is None:
            images, self.matrices = self.done(images), new
        else:
            self.matrices = [keras.ops.matmul(n, w) for n, w in zip(new, self.matrices, strict=True)]
        return images

    def add_coordinates(self, images, view, draws: dict, settings):
        if self.matrices is not None or self._closed:
            images = self.done(images)
        self._moves.append((view, draws, settings))
        self._closed = hasattr(view, "ONLY_AT_PIXELS")
        return images

    def done(self, images):
        """The images with everything that waited."""
        images = apply_matrices(images, self.matrices)
        if self._moves:
            places, seen = grid(self.spatial), None
            for number, (view, draws, settings) in reversed([*enumerate(self._moves)]):
                places = view.coordinates(places, draws, self.spatial, settings)
                if number and getattr(settings, "outside", None) == "black":
                    # Black beyond what the views before made: they might have something to show there.
                    share, places = share_inside(places, self.spatial), brought_inside(places, self.spatial, "edge")
                    seen = share if seen is None else seen * share
            images = sample(images, places)
            if seen is not None:
                images = images * keras.ops.reshape(seen, (-1, *self.spatial, 1))
        self.matrices, self._moves, self._closed = None, [], False
        return images


def _loaded(prefix: str, name: str, settings) -> tuple:
    checked = plugins.settings("views", name, settings) if isinstance(settings, dict | None) else settings
    return name, prefix + name, plugins.load("views", name), checked


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

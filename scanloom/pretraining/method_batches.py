"""The batches of a pretraining, a pure function of the update's number.

A batch is one dict of arrays `[batch, ...]`: "images" (stored integers), the draws of every branch's views under
`branch_prefix(b)`, the method's own draws under `METHOD_PREFIX`, "step" (int32, updates done so far) and "progress"
(float32, their share of all updates, for schedules inside losses), and "labels" where the method uses labels.
"""

import functools
from collections.abc import Callable

import numpy as np

from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import permutation, uniform
from scanloom.training.branches import METHOD_PREFIX, branch_prefix


def batches(
    shards,
    rows: np.ndarray,
    keys: np.ndarray,
    labels: np.ndarray | None,
    method,
    settings,
    pipeline: Pipeline,
    *,
    batch: int,
    updates: int,
    seed: int,
) -> Callable[[int], dict[str, np.ndarray]]:
    """step -> batch dict of the images at `rows`; `keys` and `labels` belong to the rows.

    `positions` of what is returned: step -> places in `rows` of the batch's images.
    An epoch is a permutation of the rows, cut into whole batches; the remainder waits for the next epoch's order.
    """
    per_epoch = len(rows) // batch

    @functools.lru_cache(maxsize=2)
    def order(epoch: int) -> np.ndarray:
        return permutation(seed, epoch, keys)

    def positions(step: int) -> np.ndarray:
        epoch, position = divmod(step, per_epoch)
        return order(epoch)[position * batch : (position + 1) * batch]

    def batch_at(step: int) -> dict[str, np.ndarray]:
        epoch, chosen = step // per_epoch, positions(step)
        made = {"images": shards.images(rows[chosen])} | draws(method, settings, pipeline, seed, epoch, keys[chosen])
        made["step"] = np.full(batch, step, np.int32)
        made["progress"] = np.full(batch, step / updates, np.float32)
        if labels is not None:
            made["labels"] = labels[chosen]
        return made

    batch_at.positions = positions
    return batch_at


def draws(method, settings, pipeline: Pipeline, seed: int, epoch: int, item_keys: np.ndarray) -> dict[str, np.ndarray]:
    """What is random about these items in this epoch: their views, and what the method draws for itself.

    A method with `draw(uniform, settings, image_shape) -> {name: array [batch, ...]}` gets a function that returns
    uniform numbers [batch, *size]; two calls of one size give the same numbers, so a method makes one call.
    """
    made = {}
    for branch in range(method.BRANCHES):
        of_branch = pipeline.draw(seed, branch, epoch, item_keys)
        made |= {branch_prefix(branch) + name: values for name, values in of_branch.items()}
    if hasattr(method, "draw"):

        def of_method(*size: int) -> np.ndarray:
            return uniform(seed, "method", epoch, item_keys, size=size)

        drawn = method.draw(of_method, settings, pipeline.image_shape)
        made |= {METHOD_PREFIX + name: values for name, values in drawn.items()}
    return made

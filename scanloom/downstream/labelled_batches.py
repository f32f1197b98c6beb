"""Batches of labelled images as a pure function of the update's number."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from scanloom.stateless_random import keys_of, permutation

DRAW = "draw_"  # prefix of the views' random numbers in a batch


def labelled_batches(
    shards, rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, views, seed: int, batch: int
) -> Callable[[int], dict[str, np.ndarray]]:
    """batch_at(step): images, labels, weights and the views' draws of `batch` of the images `rows`.

    The images go round in epochs, each a new order of all of them, without a gap between epochs: with fewer images than
    `batch` some come twice in a batch, each time with another view. Order and views depend on seed, epoch and image
    only, so every method sees the same batches. labels, weights: one per row.
    """
    n = len(rows)
    keys = keys_of(shards.table["item_id"].to_numpy()[rows])

    @lru_cache(maxsize=2 + batch // n)
    def order(epoch: int) -> np.ndarray:
        return permutation(seed, epoch, keys)

    def batch_at(step: int) -> dict[str, np.ndarray]:
        position = np.arange(step * batch, (step + 1) * batch)
        epochs = position // n
        first, last = int(epochs[0]), int(epochs[-1])
        chosen = np.concatenate([order(epoch) for epoch in range(first, last + 1)])[position - first * n]
        draws = views.draw(seed, 0, epochs, keys[chosen])
        return {
            "images": shards.images(rows[chosen]),
            "labels": labels[chosen].astype(np.int32),
            "weights": weights[chosen].astype(np.float32),
            **{f"{DRAW}{name}": value for name, value in draws.items()},
        }

    return batch_at

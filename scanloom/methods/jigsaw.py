"""Jigsaw: the image is cut into patches and these are shuffled; by which of some permutations?

Every patch passes the encoder alone; a head sees all their features in the shuffled order and names the permutation.
The permutations are chosen to differ in as many places as possible, so that no single patch gives the answer away.

    L = - mean over images of log softmax(head(encoder(patch_p(1)), ..., encoder(patch_p(n))))_p

Noroozi & Favaro, ECCV 2016, arXiv 1603.09246 (9 patches, 100 to 1000 permutations, algorithm 1); volumes: Taleb et al.,
NeurIPS 2020, arXiv 2006.03829 (27 patches). Differences: the permutations are made here, deterministically
(100 of 9 patches differ in at least 6 places, on average 8.08; 100 of 27 in at least 24, on average 26.2); guards as in
scanloom/methods/_patches.py.
"""

import functools
import itertools
import math

import numpy as np
from pydantic import Field

from scanloom import stateless_random
from scanloom.methods._patches import CellSettings, cell_grid, cut, draw_patches, numbers, patch_shape

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 1
ALL_UP_TO = 9
"""Pieces: of 9 all 362,880 permutations are looked at, of more a sample."""
SAMPLED = 20_000


class Settings(CellSettings):
    """Grid, permutations, guards and head."""

    per_side: int = Field(3, ge=2, le=8, description="cells along each axis")
    permutations: int = Field(100, ge=2, le=5000, description="how many; the classes of the question")
    patch_features: int = Field(64, ge=1, description="numbers that a layer shared by all patches leaves of each")
    head: tuple[int, ...] = Field((256,), description="hidden layer sizes of the classifier")


def encoder_shape(settings: Settings, image_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a patch."""
    return patch_shape(cell_grid(settings, settings.per_side, image_shape), image_shape)


def parts_per_image(settings: Settings, image_shape: tuple[int, ...]) -> int:
    """Patches that one image of an update is to the encoder."""
    return cell_grid(settings, settings.per_side, image_shape).cells


def draw(uniform, settings: Settings, image_shape: tuple[int, ...]) -> dict:
    """permutation int32 [batch], and how the patches are cut, in shuffled order."""
    grid = cell_grid(settings, settings.per_side, image_shape)
    u = uniform(1 + numbers(grid.cells, image_shape))
    permutation = (u[:, 0] * settings.permutations).astype(np.int32)
    cells = permutation_set(grid.cells, settings.permutations)[permutation]
    return {"permutation": permutation} | draw_patches(u[:, 1:], cells, grid, settings, image_shape)


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/methods/_pretext.py."""
    from scanloom.methods._pretext import PretextModel, answer_correct, answer_head, answer_loss

    grid = cell_grid(settings, settings.per_side, views.image_shape)
    per_part = (settings.patch_features,)

    def parts(images, draws):
        return cut(images, draws, grid, settings)

    head = answer_head(grid.cells, encoder.output.shape[-1], per_part, settings.head, settings.permutations, seed)
    return PretextModel(encoder, head, views, parts, answer_loss("permutation"), answer_correct("permutation"))


@functools.cache
def permutation_set(pieces: int, count: int) -> np.ndarray:
    """[count, pieces] different permutations, greedily far apart; the same on every machine.

    From the identity on, the next one is that with the largest least Hamming distance to those chosen, of these the one
    with the largest mean distance, of these the first. Candidates are all permutations in lexicographic order, of more
    than 9 pieces 20,000 of a fixed seed. Raises ValueError where fewer permutations exist than are asked for.
    """
    if count > math.factorial(min(pieces, 20)):
        raise ValueError(
            f"{pieces} pieces have {math.factorial(pieces)} permutations; {count} were asked for. "
            "Set `permutations` lower, or `per_side` higher"
        )
    candidates = _candidates(pieces)
    places = np.ascontiguousarray(candidates.T)
    chosen = np.zeros(count, np.int64)
    least = np.full(len(candidates), pieces, np.int64)
    total = np.zeros(len(candidates), np.int64)
    for i in range(1, count):
        distance = np.zeros(len(candidates), np.int16)
        for place, piece in zip(places, candidates[chosen[i - 1]], strict=True):
            distance += place != piece
        np.minimum(least, distance, out=least)
        total += distance
        chosen[i] = np.argmax(least * (count * pieces + 1) + total)
    return candidates[chosen]


def _candidates(pieces: int) -> np.ndarray:
    """[candidates, pieces], the identity first."""
    if pieces <= ALL_UP_TO:
        flat = itertools.chain.from_iterable(itertools.permutations(range(pieces)))
        return np.fromiter(flat, np.uint8).reshape(-1, pieces)
    keys = stateless_random.uniform(0, "jigsaw", np.arange(SAMPLED), size=(pieces,))
    keys[0] = np.arange(pieces)
    return np.unique(np.argsort(keys, axis=1, kind="stable"), axis=0).astype(np.uint16)

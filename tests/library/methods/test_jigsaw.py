"""Permutation sets are far apart, patches come in the order of the answer, puzzles are learnt."""

import itertools

import keras
import numpy as np
import pretext_toys
import pytest

from scanloom.methods import jigsaw
from scanloom.methods._patches import cell_grid, cut
from scanloom.methods.jigsaw import Settings, permutation_set
from scanloom.training.branches import of_method


def distances(permutations: np.ndarray) -> np.ndarray:
    """Hamming distances of all pairs."""
    first, second = np.triu_indices(len(permutations), 1)
    return (permutations[first] != permutations[second]).sum(axis=1)


def best_possible(pieces: int, count: int) -> int:
    """The largest least distance of any set with the identity, by looking at all sets."""
    every = np.array(list(itertools.permutations(range(pieces))))
    between = (every[:, None] != every[None]).sum(axis=-1)
    return max(
        between[np.ix_((0, *rest), (0, *rest))][np.triu_indices(count, 1)].min()
        for rest in itertools.combinations(range(1, len(every)), count - 1)
    )


@pytest.mark.parametrize(("pieces", "count"), [(3, 2), (3, 3), (3, 4), (3, 6), (4, 2), (4, 3), (4, 4), (4, 5)])
def test_small_sets_are_as_far_apart_as_brute_force_can_make_them(pieces, count):
    assert distances(permutation_set(pieces, count)).min() == best_possible(pieces, count)


@pytest.mark.parametrize("pieces", [4, 8])
def test_sets_reach_the_bound_where_a_sharply_two_transitive_group_does(pieces):
    """At most n (n - 1) permutations can differ pairwise in n - 1 places (Deza & Vanstone 1978); AGL(1, n) has them."""
    assert distances(permutation_set(pieces, pieces * (pieces - 1))).min() == pieces - 1


@pytest.mark.parametrize(("pieces", "count", "least", "mean"), [(9, 100, 6, 8.08), (27, 100, 24, 26.2)])
def test_the_default_sets_are_what_the_docstring_says(pieces, count, least, mean):
    """The ancestors' stored sets: 2D least 2, mean 8.08; 3D least 19, mean 26.0 (seed-systems.md 5.2)."""
    permutations = permutation_set(pieces, count)
    assert (np.sort(permutations, axis=1) == np.arange(pieces)).all()
    found = distances(permutations)
    assert found.min() == least
    assert found.mean() == pytest.approx(mean, abs=0.05)


def test_a_larger_set_begins_with_the_smaller_one():
    assert np.array_equal(permutation_set(8, 20), permutation_set(8, 40)[:20])


def test_more_permutations_than_there_are_is_an_error():
    assert len(np.unique(permutation_set(4, 24), axis=0)) == 24
    with pytest.raises(ValueError, match="4 pieces have 24 permutations; 25 were asked for"):
        permutation_set(4, 25)


@pytest.mark.parametrize(("rank", "per_side"), [(2, 3), (3, 2)])
def test_patches_come_in_the_order_of_the_permutation_that_is_the_answer(rank, per_side):
    settings = Settings(per_side=per_side, permutations=20, normalise=False, intensity_jitter=0, jitter=0.3)
    images = np.repeat(pretext_toys.cells_of(per_side, 6, rank)[None], 60, axis=0)
    batch = pretext_toys.batch_of(jigsaw, settings, images)
    grid = cell_grid(settings, per_side, images.shape[1:])
    patches = keras.ops.convert_to_numpy(cut(images.astype(np.float32), of_method(batch), grid, settings))
    order = patches.reshape(60, per_side**rank, -1)
    assert (order == order[..., :1]).all()
    expected = permutation_set(per_side**rank, 20)[pretext_toys.drawn(batch, "permutation")]
    assert np.array_equal(order[..., 0], expected)


def test_a_puzzle_is_learnt_where_content_tells_places():
    content = pretext_toys.cells_of(2, 4, 3) * 30

    def images_at(step):
        noise = np.random.default_rng(step).normal(0, 5, (64, *content.shape))
        return (content + noise).clip(0, 255).astype(np.uint8)

    settings = Settings(per_side=2, permutations=10, normalise=False, intensity_jitter=0, head=(64,))
    assert pretext_toys.after_training(jigsaw, settings, images_at, updates=40)["accuracy"] > 3 / 10

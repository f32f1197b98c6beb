from itertools import combinations

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from scanloom.readers._volume import Volume
from scanloom.steps import kmeans_quantise

RNG = np.random.default_rng(0)


def quantised(levels: np.ndarray, **settings) -> np.ndarray:
    names = ("red", "green", "blue") if levels.shape[-1] == 3 else ("image",)
    volume = Volume(levels[None].astype(np.float32), "0-255", (np.nan,) * 3, channels=names)
    return kmeans_quantise.apply(volume, kmeans_quantise.Settings(**settings)).values[0]


def test_grey_levels_are_the_best_there_are():
    """In one dimension clusters are intervals: for 3 of 12 different levels, all pairs of cuts can be tried."""
    distinct = np.sort(RNG.choice(256, 12, replace=False))
    levels = RNG.choice(distinct, (30, 30, 1), p=RNG.dirichlet(np.ones(12)))
    costs = []
    for cuts in combinations(range(1, 12), 2):
        parts = np.split(distinct, cuts)
        members = [levels[np.isin(levels, part)] for part in parts]
        costs.append(sum(((m - np.rint(m.mean())) ** 2).sum() for m in members if m.size))
    cost = ((quantised(levels, colours=3) - levels) ** 2).sum()
    assert cost == pytest.approx(min(costs))


@pytest.mark.parametrize("colours", [2, 4, 10])
def test_colours_are_as_good_as_opencvs(colours):
    levels = np.clip(RNG.normal([200, 150, 120], [30, 50, 20], (40, 40, 3)), 0, 255).round()
    ours = ((quantised(levels, colours=colours) - levels) ** 2).sum()
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 100, 0.01)
    points = levels.reshape(-1, 3).astype(np.float32)
    theirs, *_ = cv2.kmeans(points, colours, None, stop, 10, cv2.KMEANS_PP_CENTERS)
    assert ours <= 1.02 * theirs  # centres are rounded to whole levels here


def test_every_colour_is_the_rounded_mean_of_its_pixels():
    levels = RNG.integers(0, 256, (30, 30, 3))
    out = quantised(levels, colours=5)
    palette = np.unique(out.reshape(-1, 3), axis=0)
    assert len(palette) == 5
    for colour in palette:
        np.testing.assert_allclose(levels[(out == colour).all(-1)].mean(axis=0), colour, atol=0.51)


def test_few_levels_stay_and_the_seed_decides_nothing_else():
    two = RNG.choice([3, 250], (9, 9, 1))
    np.testing.assert_array_equal(quantised(two, colours=4), two)
    levels = RNG.integers(0, 256, (30, 30, 3))
    np.testing.assert_array_equal(quantised(levels, seed=3), quantised(levels, seed=3))


def test_all_slices_share_one_palette():
    values = RNG.integers(0, 256, (4, 12, 12)).astype(np.float32)
    volume = Volume(values, "0-255", (1, 1, 1))
    out = kmeans_quantise.apply(volume, kmeans_quantise.Settings(colours=3))
    assert len(np.unique(out.values)) == 3


@pytest.mark.parametrize("colours", [1, 11])
def test_only_2_to_10_colours(colours):
    with pytest.raises(ValidationError):
        kmeans_quantise.Settings(colours=colours)

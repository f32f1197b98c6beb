"""Scores of disentanglement: known values for perfect, mixed and empty codes; information equals scikit-learn's."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from scanloom.pretraining.disentanglement import (
    dci,
    disentanglement_scores,
    factor_vae_score,
    mig,
    mutual_information,
    sap,
)
from scanloom.pretraining.phantom_factors import FACTORS, factor_images

RNG = np.random.default_rng(0)
FACTOR_STEPS = np.array(list(itertools.product(range(4), range(5), range(3))) * 12)


def perfect():
    """Every factor in a dimension of its own, in another order and scale, beside dimensions that are dead."""
    return np.concatenate([FACTOR_STEPS[:, [2, 0, 1]] * [-3.0, 0.1, 5.0], np.zeros((len(FACTOR_STEPS), 2))], axis=1)


def test_perfect_codes_score_1_everywhere():
    scores = disentanglement_scores(perfect(), FACTOR_STEPS)
    assert set(scores) == {"mig", "sap", "factor_vae"} | {
        f"dci_{name}" for name in ("disentanglement", "completeness", "informativeness")
    }
    for name, score in scores.items():
        assert np.isclose(score, 1.0, atol=1e-6), name


def test_two_factors_mixed_evenly_in_two_dimensions_have_no_gap():
    factors = np.array(list(itertools.product(range(6), range(6))) * 20)
    x, y = factors.T
    codes = np.stack([x + y, x - y], axis=1).astype(float)
    assert mig(codes, factors) < 1e-9
    assert sap(codes, factors) < 1e-9
    parts = dci(codes, factors)
    assert parts["disentanglement"] < 0.1
    assert parts["completeness"] < 0.1
    assert parts["informativeness"] > 0.95
    assert abs(factor_vae_score(codes, factors) - 0.5) < 0.1


def test_codes_of_noise_score_chance():
    codes = RNG.normal(size=(len(FACTOR_STEPS), 6))
    assert mig(codes, FACTOR_STEPS) < 0.05
    assert sap(codes, FACTOR_STEPS) < 0.05
    assert factor_vae_score(codes, FACTOR_STEPS) < 0.55
    parts = dci(codes, FACTOR_STEPS)
    assert parts["disentanglement"] < 0.1
    assert abs(parts["informativeness"] - np.mean([1 / 4, 1 / 5, 1 / 3])) < 0.1


def test_a_factor_split_over_two_dimensions_is_disentangled_but_not_complete():
    """Four values of one factor as two bits: each dimension tells this factor only, the factor needs both."""
    factors = np.array(list(itertools.product(range(4), range(2))) * 60)
    four, two = factors.T
    codes = np.stack([four // 2, four % 2, two], axis=1).astype(float)
    parts = dci(codes, factors)
    assert np.isclose(parts["disentanglement"], 1.0, atol=1e-6)
    expected = 1 - np.log(2) / np.log(3)
    assert abs(parts["completeness"] - (expected + 1) / 2) < 0.03


def test_information_equals_scikit_learn():
    codes = FACTOR_STEPS @ RNG.normal(size=(3, 4)) + RNG.normal(0, 0.3, (len(FACTOR_STEPS), 4))
    found = mutual_information(codes, FACTOR_STEPS)
    for d, k in itertools.product(range(4), range(3)):
        bins = np.histogram_bin_edges(codes[:, d], 20)[1:-1]
        assert np.isclose(found[d, k], mutual_info_score(np.digitize(codes[:, d], bins), FACTOR_STEPS[:, k]))


def test_sap_is_the_gap_of_squared_correlations():
    codes = FACTOR_STEPS @ RNG.normal(size=(3, 4)) + RNG.normal(0, 0.3, (len(FACTOR_STEPS), 4))
    squared = np.corrcoef(codes.T, FACTOR_STEPS.T)[:4, 4:] ** 2
    ordered = np.sort(squared, axis=0)
    assert np.isclose(sap(codes, FACTOR_STEPS), (ordered[-1] - ordered[-2]).mean())


def test_dead_codes_score_0_and_impossible_ones_are_refused():
    dead = np.zeros((len(FACTOR_STEPS), 3))
    assert mig(dead, FACTOR_STEPS) == sap(dead, FACTOR_STEPS) == factor_vae_score(dead, FACTOR_STEPS) == 0.0
    with pytest.raises(ValueError, match="factor 1 has one value"):
        mig(dead, np.stack([FACTOR_STEPS[:, 0], np.ones(len(dead), int)], axis=1))
    with pytest.raises(ValueError, match="not all finite"):
        sap(dead + np.nan, FACTOR_STEPS)
    with pytest.raises(ValueError, match="same n"):
        mig(dead[1:], FACTOR_STEPS)


def test_phantom_pictures_differ_by_their_factors_alone():
    images, factors = factor_images(24, 30)
    again, _ = factor_images(24, 30)
    assert images.shape == (30, 24, 24, 1)
    assert images.dtype == np.uint8
    assert np.array_equal(images, again)
    assert len(np.unique(factors, axis=0)) == 30
    assert factors.shape[1] == len(FACTORS)
    with pytest.raises(ValueError, match="from 1 to 4320"):
        factor_images(24, 5000)


def test_the_heads_place_and_size_are_in_the_picture():
    images, factors = factor_images(32, 60)
    weight = images[..., 0].astype(float)
    rows, columns = np.indices((32, 32))
    total = weight.sum((1, 2))
    left, back, size, _, _ = factors.T
    assert np.corrcoef((weight * columns).sum((1, 2)) / total, left)[0, 1] > 0.95
    assert np.corrcoef((weight * rows).sum((1, 2)) / total, back)[0, 1] > 0.9
    assert np.corrcoef((weight > 0).sum((1, 2)), size)[0, 1] > 0.6


def test_factors_need_not_be_whole_numbers():
    angles = FACTOR_STEPS * [0.25, 0.5, 0.1] - 0.3
    noise = np.random.default_rng(3).normal(size=(len(FACTOR_STEPS), 5))
    given, whole = (
        disentanglement_scores(perfect() + noise, angles),
        disentanglement_scores(perfect() + noise, FACTOR_STEPS),
    )
    for name, score in whole.items():
        assert np.isclose(given[name], score), name

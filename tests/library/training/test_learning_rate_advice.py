"""Advice from curves whose steepest and lowest points are known, from noise, and from a real training."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from scanloom.training.learning_rate_advice import advice, has_risen, smoothed
from scanloom.training.learning_rate_range import rates

# Steepest where the logarithm of the rate is at the middle of the sigmoid; the rise makes the lowest point.
STEEPEST, LOWEST = 1e-3, 1.037e-2


def test_smoothing_is_a_gaussian_filter_that_knows_where_the_curve_ends():
    """SciPy's filter of the losses, divided by that of ones; six updates are 3 % of 200."""
    losses = np.random.default_rng(1).normal(size=60)
    sums, whole = (ndimage.gaussian_filter1d(v, 6, mode="constant") for v in (losses, np.ones(60)))
    np.testing.assert_allclose(smoothed(losses, 200), sums / whole)


def test_noise_alone_is_neither_a_rise_nor_advice():
    losses = 5 + np.random.default_rng(2).normal(size=200)
    assert not any(has_risen(losses[:end], 200) for end in range(1, 201))
    said = advice(pd.DataFrame({"learning_rate": rates(1e-6, 1, 200), "loss": losses}), 200)
    assert said["suggested"] is None
    assert not said["rose"]


def u_curve(updates, noise=0.0, seed=0, low=1e-6):
    rate = rates(low, 1.0, updates)
    loss = 10 - 4 / (1 + (STEEPEST / rate) ** 3) + 0.5 * (rate / 0.1) ** 2
    return curve_until_risen(rate, loss + noise * np.random.default_rng(seed).normal(size=updates))


def curve_until_risen(rate, loss):
    ends = [n for n in range(1, len(rate) + 1) if not np.isfinite(loss[n - 1]) or has_risen(loss[:n], len(rate))]
    end = ends[0] if ends else len(rate)
    return pd.DataFrame({"learning_rate": rate[:end], "loss": loss[:end]})


@pytest.mark.parametrize("updates", [20, 30, 50, 200, 400])
def test_a_curve_without_noise_has_its_lowest_and_steepest_point_where_its_formula_has_them(updates):
    """To a step of the rates, or to the tenth of a decade over which the loss is smoothed."""
    said = advice(u_curve(updates), updates)
    close = max(np.log(1e6) / (updates - 1), np.log(10) / 10)
    assert abs(np.log(said["steepest_at"] / STEEPEST)) < close
    assert abs(np.log(said["lowest_at"] / LOWEST)) < close
    assert said["suggested"] == pytest.approx(min(said["steepest_at"], said["lowest_at"] / 10), rel=0.01)
    assert said["rose"]


@pytest.mark.parametrize("updates", [20, 50, 200])
def test_noise_of_a_twelfth_of_the_fall_moves_the_advice_little(updates):
    said = [advice(u_curve(updates, 0.3, seed), updates)["suggested"] for seed in range(40)]
    assert None not in said
    assert 1 / 1.5 < np.median(said) / STEEPEST < 1.5


@pytest.mark.parametrize("updates", [20, 50, 200])
def test_noise_alone_is_hardly_ever_advice(updates):
    """Two in a hundred at most, of 200 tests."""
    rate = rates(1e-6, 1.0, updates)
    found = [
        advice(curve_until_risen(rate, 5 + 0.1 * np.random.default_rng(seed).normal(size=updates)), updates)
        for seed in range(200)
    ]
    assert sum(said["suggested"] is not None for said in found) <= 4


@pytest.mark.parametrize("updates", [20, 200])
@pytest.mark.parametrize("loss", [1.0, 0.1, -7.3])
def test_a_loss_that_stays_the_same_is_no_advice(loss, updates):
    curve = pd.DataFrame({"learning_rate": rates(1e-6, 1.0, updates), "loss": np.full(updates, loss)})
    assert advice(curve, updates) == {"lowest_at": None, "steepest_at": None, "suggested": None, "rose": False}


def test_a_few_losses_before_one_that_is_no_number_are_no_advice():
    loss = np.linspace(5, 4, 200)
    loss[10] = np.nan
    said = advice(curve_until_risen(rates(1e-6, 1.0, 200), loss), 200)
    assert said == {"lowest_at": None, "steepest_at": None, "suggested": None, "rose": True}


def test_a_fall_behind_noisy_first_updates_is_found_where_it_is():
    """The loss falls by 1 in the last two of six decades; ten of 40 updates vary by 0.4, then the others by 0.1."""
    rate, varies = rates(1e-6, 1.0, 40), np.where(np.arange(40) < 10, 0.4, 0.1)
    said = []
    for seed in range(100):
        noise = varies * np.random.default_rng(seed).normal(size=40)
        curve = pd.DataFrame({"learning_rate": rate, "loss": 10 - 1 / (1 + (0.03 / rate) ** 3) + noise})
        said.append(advice(curve, 40)["suggested"])
    known = np.array([rate for rate in said if rate is not None])
    assert len(known) > 20
    assert np.mean(known > 3e-3) > 0.95


def test_the_fall_of_a_real_training_is_found_and_not_what_its_first_updates_fall_and_rise_again():
    """Measured in 40 updates of Barlow Twins with small batches; to the eye the loss falls above 1e-2."""
    loss = [12.0, 23.07, 17.31, 13.39, 13.0, 9.46, 5.39, 6.68, 7.36, 10.93, 14.58, 10.58, 12.53, 10.16, 9.28, 5.84]
    loss += [12.86, 13.68, 13.19, 14.07, 13.09, 10.83, 7.45, 11.6, 8.0, 5.04, 8.42, 7.31, 5.02, 4.47, 9.42, 1.9]
    loss += [1.37, 1.12, 2.4, 1.11, 1.43, 1.14, 1.15, 1.61]
    assert advice(pd.DataFrame({"learning_rate": rates(1e-6, 1.0, 40), "loss": loss}), 40)["steepest_at"] > 1e-2


def test_no_rate_below_those_that_were_tried_is_advised():
    """The loss is lowest at twice the first rate with room for a fall, so that a tenth of it was never tried."""
    rate = rates(1e-3, 1.0, 200)
    loss = 10 - 4 / (1 + (2.5e-3 / rate) ** 6) + 2 * np.log(rate / 4e-3).clip(0)
    said = advice(curve_until_risen(rate, loss), 200)
    assert said["lowest_at"] < 1e-2
    assert said["suggested"] is None

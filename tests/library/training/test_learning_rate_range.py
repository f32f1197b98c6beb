"""The range test, on a problem whose limit is known: gradient descent on a x^2 / 2 diverges above 2 / a."""

import numpy as np
import pytest

from scanloom.training.learning_rate_advice import advice
from scanloom.training.learning_rate_range import loss_curve, rates

CURVATURE = 4.0
LIMIT = 2 / CURVATURE


class Parabola:
    """What the test uses of a Keras model: gradient descent on CURVATURE x^2 / 2 with noise on what it reports."""

    def __init__(self, noise: float = 0.0):
        self.optimizer = self
        self.learning_rate, self.x, self.noise = 0.0, 1.0, noise
        self.random = np.random.default_rng(0)

    def train_on_batch(self, batch, return_dict):
        loss = CURVATURE * self.x**2 / 2 + self.noise * self.random.standard_normal()
        self.x -= self.learning_rate * CURVATURE * self.x
        return {"loss": loss}


def curve_of(noise, low=1e-4, high=1e3, updates=200):
    return loss_curve(Parabola(noise), lambda step: {}, rates(low, high, updates))


def test_rates_are_a_geometric_series_from_low_to_high():
    found = rates(1e-6, 1.0, 50)
    np.testing.assert_allclose(found, np.geomspace(1e-6, 1.0, 50))


def test_players_that_take_turns_have_one_rate_and_one_loss_in_a_round():
    class Two(Parabola):
        round = 2

        def train_on_batch(self, batch, return_dict):
            made = super().train_on_batch(batch, return_dict)
            return {"loss": made["loss"] + 100 * (batch["step"] % 2)}

    model = Two()
    curve = loss_curve(model, lambda step: {"step": step}, rates(1e-4, 1e3, 200))
    assert advice(curve, 200)["rose"]
    assert advice(curve, 200)["suggested"] < LIMIT
    assert curve.loss.iloc[0] == pytest.approx(50 + CURVATURE / 2, rel=1e-3)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.2])
def test_the_curve_ends_soon_above_the_limit_and_advises_a_rate_below_it(noise):
    curve = curve_of(noise)
    assert LIMIT < curve.learning_rate.iloc[-1] < 20 * LIMIT
    said = advice(curve, 200)
    assert said["rose"]
    assert said["suggested"] < LIMIT
    assert said["suggested"] > LIMIT / 1000
    assert said["suggested"] <= said["lowest_at"] / 9.9
    assert said["suggested"] <= said["steepest_at"] <= said["lowest_at"]


def test_a_loss_that_is_not_finite_ends_the_curve():
    class Broken(Parabola):
        def train_on_batch(self, batch, return_dict):
            return {"loss": np.inf if self.learning_rate > 0.01 else -self.learning_rate}

    curve = loss_curve(Broken(), lambda step: {}, rates(1e-4, 1.0, 100))
    assert curve.loss.isna().tolist() == [False] * (len(curve) - 1) + [True]
    assert curve.learning_rate.iloc[-2] <= 0.01 < curve.learning_rate.iloc[-1]
    assert advice(curve, 100)["rose"]


def test_losses_below_zero_are_no_special_case():
    shifted = curve_of(0.02)
    shifted["loss"] -= 100
    assert advice(shifted, 200) == advice(curve_of(0.02), 200)

"""Learning rates follow their formula."""

import itertools
import math

import pytest

from scanloom import plugins
from scanloom.plugins import BadSettings
from scanloom.schedules import learning_rates


def at(name: str, learning_rate: float, steps: int, warmup: int = 0, **settings):
    checked = plugins.settings("schedules", name, settings)
    return learning_rates(plugins.load("schedules", name), checked, learning_rate, steps, warmup)


def test_constant_never_changes():
    assert {at("constant", 0.3, 2000)(step) for step in (0, 7, 1000)} == {0.3}


def test_cosine_rises_linearly_peaks_after_warmup_and_falls_by_the_formula():
    rate = at("cosine", 2.0, steps=110, warmup=10)
    rise = [rate(step) for step in range(11)]
    assert rise[10] == 2.0
    assert all(math.isclose(b - a, 2.0 / 11) for a, b in itertools.pairwise(rise))
    assert math.isclose(rate(60), 1.0)
    assert math.isclose(rate(35), 2.0 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert 0 < rate(109) < 0.001


def test_cosine_may_end_above_zero():
    assert math.isclose(at("cosine", 2.0, 100, lowest=0.1)(50), 2.0 * 0.55)


def test_exponential_multiplies_by_the_same_number_and_ends_where_it_should():
    rate = at("exponential", 1e-8, 71, last=1e7)
    assert math.isclose(rate(0), 1e-8)
    assert math.isclose(rate(70), 0.1)
    assert all(math.isclose(rate(s + 10) / rate(s), 10) for s in range(60))


def test_exponential_in_stairs_holds_and_drops():
    rate = at("exponential", 1.0, 30, stairs=3, last=0.25)
    assert [round(rate(s), 12) for s in (0, 9, 10, 19, 20, 29)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_step_drops_at_its_shares_of_what_follows_the_warmup():
    rate = at("step", 1.0, 110, warmup=10, at=[0.3, 0.9], factor=0.5)
    assert [rate(s) for s in (10, 39, 40, 99, 100, 109)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    with pytest.raises(BadSettings, match=r"expected rising shares between 0 and 1"):
        at("step", 1.0, 100, at=[0.9, 0.3])


@pytest.mark.parametrize("name", plugins.names("schedules"))
def test_every_schedule_starts_at_the_full_rate_and_stays_positive(name):
    rate = at(name, 0.2, 50, 5)
    assert math.isclose(rate(5), 0.2)
    assert all(0 < rate(step) <= 0.2 + 1e-12 for step in range(50))
    assert math.isclose(at(name, 0.2, 1)(0), 0.2), "a training of one update"


def test_a_warmup_as_long_as_the_training_is_an_error():
    with pytest.raises(ValueError, match=r"warm-up \(10 updates\) must be shorter than the training \(10 updates\)"):
        at("cosine", 1.0, 10, 10)

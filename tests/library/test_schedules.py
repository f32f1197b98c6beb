"""Learning rates follow their formula."""

import itertools
import math

import pytest

from scanloom.schedules import constant, cosine


def test_constant_never_changes():
    assert {constant(0.3)(step) for step in (0, 7, 1000)} == {0.3}


def test_cosine_rises_linearly_peaks_after_warmup_and_falls_by_the_formula():
    at = cosine(2.0, steps=110, warmup=10)
    rise = [at(step) for step in range(11)]
    assert rise[10] == 2.0
    assert all(math.isclose(b - a, 2.0 / 11) for a, b in itertools.pairwise(rise))
    assert math.isclose(at(60), 1.0)
    assert math.isclose(at(35), 2.0 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert 0 < at(109) < 0.001


def test_a_warmup_as_long_as_the_training_is_an_error():
    with pytest.raises(ValueError, match=r"warm-up \(10 updates\) must be shorter than the training \(10 updates\)"):
        cosine(1.0, 10, 10)

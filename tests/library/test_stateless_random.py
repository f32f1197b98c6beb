"""Random numbers are a function of their keys, uniform, and independent between keys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scanloom.stateless_random import bits, keys_of, permutation, uniform


def test_numbers_are_the_published_splitmix64_sequence():
    # First outputs of SplitMix64 from state 1234567, as listed by Rosetta Code ("Pseudo-random numbers/Splitmix64").
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + k * golden) % 2**64 for k in range(3)]
    assert [int(bits(s)) for s in states] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_an_items_numbers_do_not_depend_on_the_others_in_the_batch():
    keys = keys_of(["a", "b", "c"])
    together = uniform(1, "view", 0, 5, keys, size=(4,))
    alone = uniform(1, "view", 0, 5, keys[1:2], size=(4,))
    assert np.array_equal(together[1:2], alone)


def test_numbers_are_uniform_and_uncorrelated_between_keys_and_positions():
    numbers = uniform(7, "test", np.arange(20000), size=(2,))
    assert numbers.dtype == np.float32
    assert stats.kstest(numbers.ravel(), "uniform").pvalue > 0.01
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.03
    assert abs(np.corrcoef(numbers[1:, 0], numbers[:-1, 0])[0, 1]) < 0.03


@given(st.integers(0, 2**32), st.integers(0, 2**32), st.text(max_size=5))
def test_numbers_stay_below_one_and_change_with_every_key(seed, key, name):
    numbers = uniform(seed, name, key, size=(50,))
    assert (numbers >= 0).all()
    assert (numbers < 1).all()
    assert not np.array_equal(numbers, uniform(seed + 1, name, key, size=(50,)))
    assert not np.array_equal(numbers, uniform(seed, name, key + 1, size=(50,)))
    assert not np.array_equal(numbers, uniform(seed, name + "x", key, size=(50,)))


def test_the_order_of_keys_matters():
    assert uniform(1, 2, 3) != uniform(1, 3, 2)


@given(st.integers(1, 60), st.integers(0, 5))
def test_a_permutation_holds_every_position_once_and_ignores_who_else_is_there(n, epoch):
    keys = keys_of(range(n))
    order = permutation(3, epoch, keys)
    assert sorted(order) == list(range(n))
    without_last = permutation(3, epoch, keys[:-1])
    assert [i for i in order if i != n - 1] == list(without_last)


def test_a_key_that_is_no_integer_is_refused():
    with pytest.raises(TypeError, match="float64"):
        uniform(1, np.array([0.5]))

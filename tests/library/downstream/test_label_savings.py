"""Labels saved: by hand on straight lines, against scikit-learn's isotonic regression, and the censored cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from sklearn.isotonic import IsotonicRegression

from scanloom.downstream.label_savings import labels_to_reach, monotone, savings

LABELS = np.array([10.0, 100.0, 1000.0])


def one(labels, score, baseline_score, draws=None, baseline_draws=None, **options):
    """savings() without variation unless draws are given."""
    score, baseline_score = np.asarray(score, float), np.asarray(baseline_score, float)
    draws = np.repeat(score[:, None], 100, axis=1) if draws is None else draws
    base = np.repeat(baseline_score[:, None], 100, axis=1) if baseline_draws is None else baseline_draws
    return savings(np.asarray(labels, float), score, draws, LABELS, baseline_score, base, **options)


@given(some.lists(some.floats(0, 1), min_size=1, max_size=7))
def test_monotone_equals_isotonic_regression(scores):
    fit = monotone(np.array([scores, scores[::-1]]))
    theirs = [IsotonicRegression().fit_transform(np.arange(len(row)), row) for row in (scores, scores[::-1])]
    np.testing.assert_allclose(fit, theirs, atol=1e-12)


def test_halfway_in_score_is_halfway_in_the_logarithm_of_labels():
    row = one([10], [0.75], [0.7, 0.8, 0.9])[0]
    assert row["baseline_labels"] == pytest.approx(np.sqrt(10 * 100))
    assert row["saved"] == pytest.approx(np.sqrt(1000) - 10)
    assert row["factor"] == pytest.approx(np.sqrt(10))
    assert (row["factor_low"], row["factor_high"]) == (pytest.approx(row["factor"]), pytest.approx(row["factor"]))
    assert row["text"] == "10 labelled patients are worth 32 of the baseline's (95 % interval 32)"


def test_lower_is_better_is_the_same_question_with_the_sign_turned():
    up, down = one([10], [0.75], [0.7, 0.8, 0.9]), one([10], [0.25], [0.3, 0.2, 0.1], higher_is_better=False)
    assert down[0]["factor"] == pytest.approx(up[0]["factor"])


def test_an_arm_above_the_whole_curve_is_never_extrapolated():
    row = one([10, 100, 1000], [0.95, 0.95, 0.95], [0.7, 0.8, 0.9])[0]
    assert np.isnan([row["baseline_labels"], row["saved"], row["factor"], row["factor_high"]]).all()
    assert row["censored"] == row["low_censored"] == row["high_censored"] == "above"
    assert "more than all 1000" in row["text"]


def test_an_arm_below_the_whole_curve_saves_nothing_that_can_be_counted():
    row = one([1000], [0.6], [0.7, 0.8, 0.9])[0]
    assert row["censored"] == "below"
    assert np.isnan(row["factor"])
    assert "fewer than 10" in row["text"]


@given(
    some.lists(some.sampled_from([0.5, 0.6, 0.7, 0.8]), min_size=3, max_size=3),
    some.integers(0, 1000),
)
def test_equal_arms_save_exactly_nothing_whatever_the_curve(scores, seed):
    draws = np.array(scores)[:, None] + np.random.default_rng(seed).normal(0, 0.05, (3, 60))
    for row in one(LABELS, scores, scores, draws, draws):
        assert [row["factor"], row["factor_low"], row["factor_high"]] == pytest.approx([1, 1, 1])
        assert [row["saved"], row["saved_low"], row["saved_high"]] == pytest.approx([0, 0, 0], abs=1e-9)


def test_on_a_flat_stretch_the_smallest_claim_is_made():
    curve = np.array([[0.7, 0.8, 0.8, 0.9]])
    labels = np.array([10.0, 100.0, 1000.0, 10000.0])
    for near, worth in ((10, 100), (300, 300), (10000, 1000)):
        assert labels_to_reach(np.array([0.8]), labels, curve, near) == pytest.approx(worth)


def test_interval_is_of_the_resamples_and_keeps_what_is_censored_infinite():
    """The arm at 10 labels varies over .71 to .95: 2.5 % is on the curve, 97.5 % beyond it."""
    draws = np.linspace(0.71, 0.95, 100)[None]
    row = one([10], [0.75], [0.7, 0.8, 0.9], draws)[0]
    assert row["low_censored"] == ""
    assert row["factor_low"] == pytest.approx(10 ** ((draws[0, 1] - 0.7) / 0.1), rel=1e-6)
    assert row["high_censored"] == "above"
    assert np.isnan(row["factor_high"])


def test_resamples_without_a_value_are_left_out():
    draws = np.full((1, 100), 0.75)
    draws[0, :10] = np.nan
    assert one([10], [0.75], [0.7, 0.8, 0.9], draws)[0]["factor_low"] == pytest.approx(np.sqrt(10))


def test_labels_that_do_not_increase_are_an_error():
    with pytest.raises(ValueError, match=r"labels must be positive and increase, got \[10.0, 10.0\]"):
        one([10, 10], [0.7, 0.8], [0.7, 0.8, 0.9])

"""Resampling, intervals and tests against published formulas, statsmodels, SciPy and simulated studies."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from scanloom.downstream import statistics as st
from scanloom.metrics import auroc


def study(rng, patients: int, seeds: int, seed_sd: float, arms: int = 2):
    """A null study: correlated images of patients, arms that differ by training luck only."""
    patient = np.repeat(np.arange(patients), rng.integers(1, 5, patients))
    label = (rng.random(patients) < 0.35)[patient].astype(int)
    shared = 0.7 * rng.standard_normal(patients)[patient] + 0.5 * rng.standard_normal(len(patient))
    separation = 1.5 + seed_sd * rng.standard_normal((arms, seeds, 1))
    scores = separation * label + shared + 0.6 * rng.standard_normal((arms, seeds, len(patient)))
    return patient, label, scores


def aurocs(label, scores, weights):
    """AUROC [..., B] of scores [..., n]."""
    flat = scores.reshape(-1, len(label))
    values = [auroc.compute(label, np.stack([-row, row], axis=1), weights) for row in flat]
    return np.reshape(values, (*scores.shape[:-1], len(weights)))


def test_every_resample_draws_as_many_patients_as_there_are():
    weights = st.patient_weights(37, 500, seed=4)
    assert weights.shape == (500, 37)
    assert (weights.sum(axis=1) == 37).all()
    assert abs(weights.var() - (1 - 1 / 37)) < 0.03  # binomial(37, 1/37)


def test_resamples_depend_on_the_seed_alone():
    assert (st.patient_weights(20, 50, 1) == st.patient_weights(20, 50, 1)).all()
    assert (st.patient_weights(20, 50, 1) != st.patient_weights(20, 50, 2)).any()


def test_jackknife_leaves_each_patient_out_exactly_once():
    for patients, rows in ((30, 30), (1000, 200)):
        left_out = 1 - st.jackknife_weights(patients, seed=0).astype(int)
        assert left_out.shape == (rows, patients)
        assert (left_out.sum(axis=0) == 1).all()


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_seed_deviates_give_the_t_interval_of_a_mean(seeds):
    scores = np.random.default_rng(0).standard_normal(seeds)
    deviates = st.seed_deviates(seeds, 20_000, seed=1) @ (scores - scores.mean())
    scaled = deviates / (scores.std(ddof=1) / np.sqrt(seeds))
    assert stats.kstest(scaled, stats.t(seeds - 1).cdf).pvalue > 0.001


def test_one_seed_adds_nothing():
    assert (st.seed_deviates(1, 10, 0) == 0).all()


def test_differences_of_draws_are_paired_over_seeds():
    """Two arms that move together over seeds have a difference without seed variance."""
    scores = np.array([[0.6, 0.8, 0.7], [0.65, 0.85, 0.75]])
    draws = st.two_level_draws(np.repeat(scores[..., None], 50, axis=-1), scores, st.seed_deviates(3, 50, 0))
    np.testing.assert_allclose(draws[1] - draws[0], 0.05, atol=1e-12)
    assert draws[0].std() > 0.01


def test_bca_equals_scipy():
    rng = np.random.default_rng(3)
    sample = rng.exponential(size=40)
    ours = st.patient_weights(40, 20_000, seed=0) @ sample / 40
    left_out = st.jackknife_weights(40, 0) @ sample / 39
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=20_000, method="BCa", rng=rng).confidence_interval
    np.testing.assert_allclose(st.bca_interval(ours, sample.mean(), left_out), theirs, atol=0.015)
    assert abs(st.percentile_interval(ours)[1] - theirs.high) > 0.015  # the correction is what is being tested


def test_bca_of_a_constant_is_that_constant():
    assert st.bca_interval(np.ones(100), 1.0, np.ones(10)) == (1.0, 1.0)


def test_undefined_draws_are_left_out_and_nothing_defined_is_nan():
    assert st.percentile_interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
    assert np.isnan(st.percentile_interval(np.full(3, np.nan))).all()
    assert np.isnan(st.bootstrap_p_value(np.full(3, np.nan)))


def test_p_value_agrees_with_the_interval():
    """Zero on the 95 % bound is p = 0.05, to the resolution of the draws."""
    draws = np.random.default_rng(0).standard_normal(4000)
    low, _ = st.percentile_interval(draws)
    assert abs(st.bootstrap_p_value(draws - low) - 0.05) < 0.001
    assert st.bootstrap_p_value(np.zeros(100)) == 1.0
    assert st.bootstrap_p_value(np.ones(999)) == pytest.approx(2 / 1000)


def test_holm_equals_statsmodels_and_leaves_out_what_was_not_tested():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 30):
        p = rng.random(size) ** 4
        np.testing.assert_allclose(st.holm(p), multipletests(p, method="holm")[1], atol=1e-15)
    np.testing.assert_allclose(st.holm([0.02, np.nan, 0.03]), [0.04, np.nan, 0.04])


def test_wilson_equals_statsmodels():
    for count, size in ((0, 12), (3, 10), (10, 10)):
        theirs = proportion_confint(count, size, method="wilson")
        np.testing.assert_allclose(st.wilson_interval(count / size, size), theirs, atol=1e-12)


def naive_delong(label, scores):
    """The definition: structural components from all pairs."""
    parts = []
    for row in scores:
        psi = (row[label == 1][:, None] > row[label == 0]) + 0.5 * (row[label == 1][:, None] == row[label == 0])
        parts.append((psi.mean(axis=1), psi.mean(axis=0)))
    tens, ones = (np.cov([part[i] for part in parts]) / len(parts[0][i]) for i in (0, 1))
    return np.array([part[0].mean() for part in parts]), tens + ones


def test_delong_equals_the_definition_with_ties():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, 120)
    scores = np.round(rng.standard_normal((3, 120)) + label, 1)
    for ours, theirs in zip(st.delong(label, scores), naive_delong(label, scores), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_delong_and_the_bootstrap_agree_where_each_image_is_a_patient():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 300)
    scores = rng.standard_normal((2, 300)) + np.array([[1.0], [1.3]]) * label
    areas, covariance = st.delong(label, scores)
    weights = st.patient_weights(300, 3000, seed=0).astype(float)
    boot = np.stack([aurocs(label, row, weights) for row in scores])
    np.testing.assert_allclose(np.cov(boot), covariance, rtol=0.12, atol=5e-6)
    difference, p = st.delong_test(label, *scores)
    assert difference == pytest.approx(areas[0] - areas[1])
    assert p == pytest.approx(st.bootstrap_p_value(boot[0] - boot[1]), abs=0.02)


def test_delong_of_equal_scores_is_no_difference_and_of_one_class_an_error():
    label, scores = np.array([0, 0, 1, 1, 1]), np.arange(5.0)
    assert st.delong_test(label, scores, scores) == (0.0, 1.0)
    with pytest.raises(ValueError, match="2 items of each class, got 5 positive and 0 negative"):
        st.delong(np.ones(5), scores)


def test_coverage_of_the_patient_bootstrap_with_clustered_images():
    """400 studies of 60 patients; the truth is the same population with 60,000 patients."""
    rng = np.random.default_rng(7)
    patient, label, scores = study(rng, 60_000, 1, 0, arms=1)
    truth = aurocs(label, scores[0, 0], np.ones((1, len(label))))[0]
    hits = {"percentile": 0, "bca": 0, "images": 0}
    for number in range(400):
        patient, label, scores = study(rng, 60, 1, 0, arms=1)
        left_out = st.jackknife_weights(60, number)
        weights = np.concatenate([np.ones((1, 60)), st.patient_weights(60, 400, number), left_out])[:, patient]
        value, *rest = aurocs(label, scores[0, 0], weights)
        draws, jackknife = np.array(rest[:400]), np.array(rest[400:])
        images = aurocs(label, scores[0, 0], st.patient_weights(len(label), 400, number).astype(float))
        for kind, (low, high) in {
            "percentile": st.percentile_interval(draws),
            "bca": st.bca_interval(draws, value, jackknife),
            "images": st.percentile_interval(images),
        }.items():
            hits[kind] += low <= truth <= high
    assert 0.90 <= hits["percentile"] / 400 <= 0.99
    assert 0.90 <= hits["bca"] / 400 <= 0.99
    assert hits["images"] < hits["percentile"] - 20  # images of a patient are not independent: this is why


@pytest.mark.parametrize("seed_sd", [0.0, 0.3, 1.0])
def test_type_one_error_of_the_paired_comparison_stays_below_five_percent(seed_sd):
    """300 null studies, 60 patients, 3 seeds. Resampling the 3 seeds instead rejects far too often (last assertion)."""
    rng = np.random.default_rng(11)
    rejected = resampled_seeds = 0
    for number in range(300):
        patient, label, scores = study(rng, 60, 3, seed_sd)
        weights = np.concatenate([np.ones((1, 60)), st.patient_weights(60, 300, number)])[:, patient]
        values = aurocs(label, scores, weights)
        draws = st.two_level_draws(values[..., 1:], values[..., 0], st.seed_deviates(3, 300, number))
        rejected += st.bootstrap_p_value(draws[0] - draws[1]) < 0.05
        share = rng.multinomial(3, [1 / 3] * 3, size=300).T / 3
        naive = ((values[0] - values[1])[:, 1:] * share).sum(axis=0)
        resampled_seeds += st.bootstrap_p_value(naive) < 0.05
    assert rejected / 300 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    if seed_sd == 1.0:
        assert resampled_seeds / 300 > 0.15

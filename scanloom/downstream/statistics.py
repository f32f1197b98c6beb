"""Bootstrap by patient and seed, intervals, paired p-values, Holm, DeLong.

Two things vary when a study is done again: the test patients and the trainings (seeds: labelled patients, weights,
order). Patients are resampled, and one set of resamples is shared by all arms, so that differences are paired. Seeds
are too few to be resampled: with 3 seeds the resampled spread is 2/3 of the real variance on 10 distinct values, and
when seeds dominate, three differences of one sign (1 study in 4 under the null) already exclude zero. Each draw
therefore adds a multivariate t deviate with n_seeds - 1 degrees of freedom and the covariance of the seeds' scores,
divided by n_seeds (`seed_deviates`): for one arm alone this is the usual t interval of a mean over seeds, and for the
difference of two arms it is the paired one. Coverage and type I error are measured in
tests/library/downstream/test_statistics.py.
"""

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
BLOCK = 4_000_000  # weights expanded at a time: 32 MB of float64


def patient_weights(patients: int, resamples: int, seed: int) -> np.ndarray:
    """How often each patient was drawn in each resample: uint16 [resamples, patients]; every row sums to `patients`."""
    generator = np.random.default_rng([seed, 1])
    weights = np.empty((resamples, patients), np.uint16)
    rows = max(1, BLOCK // max(patients, 1))
    for start in range(0, resamples, rows):
        block = weights[start : start + rows]
        drawn = generator.integers(patients, size=block.shape) + patients * np.arange(len(block))[:, None]
        block[:] = np.bincount(drawn.ravel(), minlength=block.size).reshape(block.shape)
    return weights


def jackknife_weights(patients: int, seed: int, groups: int = 200) -> np.ndarray:
    """Rows that leave out one patient (of many patients: one of `groups` groups): uint16 [rows, patients]."""
    rows = min(patients, groups)
    group = np.random.default_rng([seed, 2]).permutation(patients) % rows
    return (group != np.arange(rows)[:, None]).astype(np.uint16)


def seed_deviates(seeds: int, resamples: int, seed: int) -> np.ndarray:
    """Weights u, float [resamples, seeds], whose product with the seeds' centred scores is their mean's t deviate.

    u @ (scores - mean) is t-distributed with seeds - 1 degrees of freedom and scale std(scores, ddof=1) / sqrt(seeds);
    used for several arms at once it keeps their correlation over seeds. Zeros for a single seed: nothing is known.
    """
    if seeds < 2:
        return np.zeros((resamples, seeds))
    generator = np.random.default_rng([seed, 3])
    normal = generator.standard_normal((resamples, seeds))
    chi_square = generator.chisquare(seeds - 1, (resamples, 1))
    return normal * np.sqrt((seeds - 1) / chi_square) / np.sqrt(seeds * (seeds - 1))


def two_level_draws(resampled: np.ndarray, scores: np.ndarray, deviates: np.ndarray) -> np.ndarray:
    """Draws of a mean over seeds, float [..., B], in which patients and seeds vary.

    resampled: [..., S, B] each seed's metric in each resample of patients; scores: [..., S] on all patients;
    deviates: [B, S] from `seed_deviates`.
    """
    centred = scores - scores.mean(axis=-1, keepdims=True)
    return resampled.mean(axis=-2) + centred @ deviates.T


def percentile_interval(draws: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The middle `confidence` of the defined draws; NaN without any."""
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return np.nan, np.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def bca_interval(
    draws: np.ndarray, estimate: float, jackknife: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Bias-corrected and accelerated interval (Efron 1987, eq. 2.3) from draws and leave-one-out values.

    Where nothing varies, or the estimate lies outside all draws, no correction exists: the percentile interval.
    """
    draws, jackknife = draws[np.isfinite(draws)], jackknife[np.isfinite(jackknife)]
    if not len(draws) or not np.isfinite(estimate):
        return np.nan, np.nan
    # Ties with the estimate count half, so that a discrete metric is not taken for a biased one.
    below = (np.mean(draws < estimate) + np.mean(draws <= estimate)) / 2
    influence = jackknife.mean() - jackknife if len(jackknife) else np.zeros(1)
    spread = np.sum(influence**2)
    if not 0 < below < 1 or spread == 0:
        return percentile_interval(draws, confidence)
    bias = stats.norm.ppf(below)
    acceleration = np.sum(influence**3) / (6 * spread**1.5)
    shifted = bias + stats.norm.ppf([(1 - confidence) / 2, (1 + confidence) / 2])
    level = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
    low, high = np.quantile(draws, level)
    return float(low), float(high)


def bootstrap_p_value(draws: np.ndarray) -> float:
    """Two-sided p-value of "the difference is zero" from draws of the difference: the percentile interval, inverted.

    Never below 2 / (B + 1): B draws cannot show more.
    """
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return np.nan
    tail = min(np.sum(draws <= 0), np.sum(draws >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(draws) + 1)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p-values (family-wise error), NaN where p is NaN: those are not in the family."""
    p_values = np.asarray(p_values, float)
    adjusted = np.full(p_values.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p_values))
    order = tested[np.argsort(p_values[tested], kind="stable")]
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * np.arange(len(order), 0, -1)))
    return adjusted


def wilson_interval(share: np.ndarray, count: np.ndarray, confidence: float = CONFIDENCE) -> tuple:
    """Wilson's score interval of a share among `count` independent units (Wilson 1927)."""
    z = stats.norm.ppf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    # Holds the share itself also where rounding would leave it out (0 and 1).
    return np.minimum(centre - half, share).clip(0), np.maximum(centre + half, share).clip(max=1)


def delong(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUROCs [m] and their covariance [m, m] (DeLong 1988 by the midranks of Sun & Xu 2014).

    labels: 0/1 [n]; scores: [m, n], m classifiers on the same items. Items count as independent: with several images
    of a patient the variance is too small, and the patient bootstrap is the one to use.
    """
    labels, scores = np.asarray(labels).astype(bool), np.atleast_2d(np.asarray(scores, float))
    positives, negatives = int(labels.sum()), int((~labels).sum())
    if positives < 2 or negatives < 2:
        raise ValueError(f"DeLong needs 2 items of each class, got {positives} positive and {negatives} negative")
    among_all = stats.rankdata(scores, axis=1)
    over_negatives = (among_all[:, labels] - stats.rankdata(scores[:, labels], axis=1)) / negatives
    over_positives = 1 - (among_all[:, ~labels] - stats.rankdata(scores[:, ~labels], axis=1)) / positives
    covariance = np.cov(over_negatives) / positives + np.cov(over_positives) / negatives
    return over_negatives.mean(axis=1), np.atleast_2d(covariance)


def delong_test(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Difference of two AUROCs on the same items and its two-sided p-value (1 where they never differ)."""
    areas, covariance = delong(labels, np.stack([first, second]))
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    difference = float(areas[0] - areas[1])
    if variance <= 1e-15:
        return difference, 1.0 if difference == 0 else 0.0
    return difference, float(2 * stats.norm.sf(abs(difference) / np.sqrt(variance)))

"""How many labels pretraining saves: where the baseline's learning curve reaches the arm's score.

The baseline's score against log(labelled patients) is made monotone (more labels never hurt: isotonic regression) and
read as straight pieces between the fractions that were trained. An arm with n labelled patients and score s is worth
the number of labels at which this curve reaches s. The same is done in every bootstrap resample, with the same patients
and seeds on both sides, which gives the interval. Nothing is read outside the fractions that were trained: an arm above
the whole curve is worth "more than all N" labels, one below it "fewer than" the smallest number.

Where the curve is flat, the number of labels that it takes is not unique: the one closest to the arm's own number is
taken, the smallest claim. So two equal arms save exactly nothing, whatever the curve.
"""

import numpy as np

from scanloom.downstream.statistics import CONFIDENCE

ABOVE, BELOW = np.inf, -np.inf  # the baseline never reaches the score; its smallest fraction is already better
SAME_SCORE = 1e-12


def monotone(scores: np.ndarray) -> np.ndarray:
    """Least-squares non-decreasing fit along the last axis of scores [..., F] (F is a handful of fractions)."""
    count = scores.shape[-1]
    sums = np.concatenate([np.zeros((*scores.shape[:-1], 1)), np.cumsum(scores, axis=-1)], axis=-1)
    fit = np.empty_like(scores)
    for j in range(count):
        # max over i <= j of min over k >= j of mean(scores[i..k]) (Robertson, Wright & Dykstra 1988, 1.4)
        ends = np.arange(j + 1, count + 1)
        means = [((sums[..., ends] - sums[..., [i]]) / (ends - i)).min(axis=-1) for i in range(j + 1)]
        fit[..., j] = np.max(means, axis=0)
    return fit


def labels_to_reach(score: np.ndarray, labels: np.ndarray, curve: np.ndarray, near: float) -> np.ndarray:
    """Number of labels at which a non-decreasing curve reaches a score: [B]; ABOVE or BELOW where it does not.

    score: [B]; labels: increasing [F]; curve: [B, F]. On a flat stretch the number closest to `near`.
    """
    x, last = np.log(labels), len(labels) - 1
    first_above = (curve < score[:, None] - SAME_SCORE).sum(axis=1)
    last_below = (curve <= score[:, None] + SAME_SCORE).sum(axis=1) - 1
    earliest = _between(score, x, curve, np.clip(first_above - 1, 0, last), np.clip(first_above, 0, last))
    latest = _between(score, x, curve, np.clip(last_below, 0, last), np.clip(last_below + 1, 0, last))
    reached = np.exp(np.clip(np.log(near), earliest, np.maximum(earliest, latest)))
    return np.where(first_above > last, ABOVE, np.where(last_below < 0, BELOW, reached))


def _between(score: np.ndarray, x: np.ndarray, curve: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Where the straight line from point `left` to point `right` of each curve has the score; x[left] if they agree."""
    row = np.arange(len(score))
    low, high = curve[row, left], curve[row, right]
    rise = high - low
    share = np.divide(score - low, rise, out=np.zeros_like(rise), where=rise > SAME_SCORE)
    return x[left] + np.clip(share, 0, 1) * (x[right] - x[left])


def savings(
    labels: np.ndarray,
    score: np.ndarray,
    draws: np.ndarray,
    baseline_labels: np.ndarray,
    baseline_score: np.ndarray,
    baseline_draws: np.ndarray,
    higher_is_better: bool = True,
) -> list[dict]:
    """One row per fraction of the arm: what its labels are worth on the baseline's curve, and what that saves.

    labels [A], score [A], draws [A, B]: the arm's labelled patients, metric and its joint draws at each fraction;
    baseline_*: the same of the baseline, [F], [F], [F, B], from the same patients and seeds. Row: baseline_labels,
    saved, factor, each with _low and _high (NaN where the curve does not say), censored and low_censored, high_censored
    ("", "above", "below"), text. Raises ValueError where labels do not increase.
    """
    labels, baseline_labels = np.asarray(labels, float), np.asarray(baseline_labels, float)
    for name, counts in (("labels", labels), ("baseline_labels", baseline_labels)):
        if not (np.all(np.diff(counts) > 0) and np.all(counts > 0)):
            raise ValueError(f"{name} must be positive and increase, got {counts.tolist()}")
    sign = 1.0 if higher_is_better else -1.0
    defined = np.isfinite(draws).all(axis=0) & np.isfinite(baseline_draws).all(axis=0)
    own = monotone(sign * np.concatenate([np.asarray(score)[None], draws.T[defined]]))
    curve = monotone(sign * np.concatenate([np.asarray(baseline_score)[None], baseline_draws.T[defined]]))
    rows = []
    for column, count in enumerate(labels):
        reached = labels_to_reach(own[:, column], baseline_labels, curve, count)
        low, high = _ordered_interval(reached[1:])
        row = {}
        for suffix, value in (("", reached[0]), ("_low", low), ("_high", high)):
            known = float(value) if np.isfinite(value) else np.nan
            row[f"baseline_labels{suffix}"] = known
            row[f"saved{suffix}"] = known - count
            row[f"factor{suffix}"] = known / count
        row["censored"], row["low_censored"], row["high_censored"] = map(_side, (reached[0], low, high))
        row["text"] = _text(count, reached[0], low, high, baseline_labels)
        rows.append(row)
    return rows


def _ordered_interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % by order statistics: censored values are infinite and must not be averaged with others."""
    if not len(values):
        return BELOW, ABOVE
    ordered = np.sort(values)
    rank = int(np.floor((1 - CONFIDENCE) / 2 * (len(ordered) + 1)))
    return float(ordered[max(rank - 1, 0)]), float(ordered[min(len(ordered) - rank, len(ordered) - 1)])


def _side(value: float) -> str:
    return "" if np.isfinite(value) else "above" if value > 0 else "below"


def _text(count: float, reached: float, low: float, high: float, labels: np.ndarray) -> str:
    """As: 14 labelled patients are worth 45 of the baseline's (95 % interval 25 to more than all 120)."""

    def word(value: float) -> str:
        if value == ABOVE:
            return f"more than all {labels[-1]:.0f}"
        return f"fewer than {labels[0]:.0f}" if value == BELOW else f"{value:.0f}"

    interval = word(low) if word(low) == word(high) else f"{word(low)} to {word(high)}"
    return f"{count:.0f} labelled patients are worth {word(reached)} of the baseline's (95 % interval {interval})"

"""From the predictions of all arms of a task to the tables of the report: metrics, comparisons, savings, calibration.

Only test predictions are reported. All arms are resampled together: the same patients in the same resample, the same
seeds, so that a comparison with the baseline is paired. The baseline is matched in schedule and fraction, and without
it nothing is reported.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.downstream import label_savings
from scanloom.downstream import statistics as st
from scanloom.downstream.aligned_predictions import ARM, AlignedPredictions, EvaluationError, align
from scanloom.metrics._weighted import predicted

ALPHA = 0.05
MIN_PATIENTS_PER_CLASS = 10  # below it a resample holds few distinct patients of the class: intervals are too short
MAX_UNDEFINED_SHARE = 0.05  # of resamples without a value: the rest is no longer a sample of what could have happened
MIN_SEEDS = 2  # one training says nothing about how much trainings differ
CALIBRATION_BINS = 10
MIN_PREDICTIONS_PER_BIN = 10

FOR, AGAINST, NONE, NOT_TESTABLE = "evidence for", "evidence against", "no evidence", "not testable"


_NUMBERS = [f"{name}{end}" for name in ("baseline_labels", "saved", "factor") for end in ("", "_low", "_high")]
_EMPTY_SAVING = dict.fromkeys(_NUMBERS, np.nan) | dict.fromkeys(
    ("censored", "low_censored", "high_censored", "text"), ""
)


@dataclass(frozen=True)
class Evaluation:
    """The tables of one task (docs/output.md) and the facts they rest on."""

    metrics: pd.DataFrame
    comparisons: pd.DataFrame
    savings: pd.DataFrame
    calibration: pd.DataFrame
    confusion: pd.DataFrame
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Resampled:
    """One metric of all arms: value [A], per_seed [A, S], draws [A, B] and leave-one-out values [A, J]."""

    value: np.ndarray
    per_seed: np.ndarray
    draws: np.ndarray
    jackknife: np.ndarray


def evaluate(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    *,
    kind: str = "binary",
    level: str = "image",
    aggregate: str = "mean",
    baseline: str = "from_scratch",
    references: Collection[str] = ("supervised",),
    metrics: Sequence[str] | None = None,
    labelled: pd.DataFrame | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """All tables of a task from predictions of every arm (columns: docs/output.md, `predictions`).

    level: what is counted, "image", "series" or "patient"; several images become one by `aggregate` ("mean", "max").
    references: methods that pretrain with labels: compared, but in a family of tests of their own and without savings.
    labelled: fraction, labelled_patients, labelled_images (rows of the selection tables will do), for the savings.
    Raises EvaluationError where predictions are incomplete, contradictory or lack the baseline.
    """
    names = list(metrics) if metrics is not None else plugins.names("metrics")
    test = align(predictions, classes, kind, level, aggregate)
    _check_baseline(test.arms, baseline)
    resampled = _resample(test, names, resamples, seed)
    counts = _labelled_counts(test.arms, labelled)
    class_patients = _patients_per_class(test)
    metric_rows = _metric_table(test, resampled, counts, class_patients)
    comparisons = _comparison_table(test, resampled, baseline, references, class_patients, resamples)
    return Evaluation(
        metrics=metric_rows,
        comparisons=comparisons,
        savings=_savings_table(test, resampled, counts, comparisons, baseline, references),
        calibration=_calibration_table(test),
        confusion=_confusion_table(test),
        facts={
            "classes": list(classes),
            "kind": kind,
            "level": level,
            "aggregate": aggregate if level != "image" else None,
            "baseline": baseline,
            "references": sorted(set(references) & set(test.arms.method)),
            "metrics": names,
            "test_items": len(test.labels),
            "test_patients": int(test.patients.max()) + 1,
            "test_patients_per_class": class_patients.tolist(),
            "seeds": [int(s) for s in test.seeds],
            "resamples": resamples,
            "bootstrap_seed": seed,
        },
    )


def _check_baseline(arms: pd.DataFrame, baseline: str) -> None:
    present = set(arms[arms.method == baseline][["schedule", "fraction"]].itertuples(index=False, name=None))
    missing = sorted(set(arms[["schedule", "fraction"]].itertuples(index=False, name=None)) - present)
    if missing:
        schedule, fraction = missing[0]
        raise EvaluationError(
            f"no test predictions of the baseline '{baseline}' for schedule '{schedule}', fraction {fraction} "
            f"({len(missing)} such arms): a method is never reported without its matched baseline"
        )


def _resample(test: AlignedPredictions, names: list[str], resamples: int, seed: int) -> dict[str, Resampled]:
    """Every metric of every arm and seed under one set of patient weights."""
    patients = int(test.patients.max()) + 1
    weights = np.concatenate(
        [
            np.ones((1, patients), np.uint16),
            st.patient_weights(patients, resamples, seed),
            st.jackknife_weights(patients, seed),
        ]
    )
    modules = {name: plugins.load("metrics", name) for name in names}
    arms, seeds = test.probabilities.shape[:2]
    values = {name: np.full((arms, seeds, len(weights)), np.nan) for name in names}
    rows = max(1, st.BLOCK // len(test.labels))
    for start in range(0, len(weights), rows):
        block = slice(start, start + rows)
        of_items = weights[block][:, test.patients].astype(float)
        for name, module in modules.items():
            if not module.DEFINED(test.labels, test.probabilities.shape[-1]):
                continue
            for arm in range(arms):
                for s in range(seeds):
                    values[name][arm, s, block] = module.compute(test.labels, test.probabilities[arm, s], of_items)
    deviates = st.seed_deviates(seeds, resamples, seed)
    result = {}
    for name, value in values.items():
        scores, boot, left_out = value[..., 0], value[..., 1 : resamples + 1], value[..., resamples + 1 :]
        draws = st.two_level_draws(boot, scores, deviates)
        result[name] = Resampled(scores.mean(axis=1), scores, draws, left_out.mean(axis=1))
    return result


def _labelled_counts(arms: pd.DataFrame, labelled: pd.DataFrame | None) -> pd.DataFrame:
    """labelled_patients and labelled_images of each arm's fraction (mean over seeds); NaN where not given."""
    columns = ["labelled_patients", "labelled_images"]
    if labelled is None:
        return pd.DataFrame(np.nan, index=arms.index, columns=columns)
    means = labelled.groupby("fraction")[columns].mean().astype(float)
    return means.reindex(arms.fraction).set_index(arms.index)


def _patients_per_class(test: AlignedPredictions) -> np.ndarray:
    """Test patients with at least one item of each class: int [K]."""
    classes = test.probabilities.shape[-1]
    return np.array([len(np.unique(test.patients[test.labels == k])) for k in range(classes)])


def bounds_of(metric: str, classes: int) -> tuple[float, float]:
    """The lowest and the highest value that the metric can have."""
    plugin = plugins.load("metrics", metric)
    return getattr(plugin, "RANGE_OF_TWO_CLASSES", plugin.RANGE) if classes == 2 else plugin.RANGE


def _metric_table(
    test: AlignedPredictions, resampled: dict[str, Resampled], counts: pd.DataFrame, class_patients: np.ndarray
) -> pd.DataFrame:
    rows = []
    for name, found in resampled.items():
        bounds = bounds_of(name, len(class_patients))
        for a, arm in enumerate(test.arms.itertuples(index=False)):
            low, high = st.bca_interval(found.draws[a], found.value[a], found.jackknife[a])
            rows.append(
                {
                    **arm._asdict(),
                    "split": "test",
                    "metric": name,
                    "value": found.value[a],
                    "low": np.clip(low, *bounds),
                    "high": np.clip(high, *bounds),
                    "seed_min": found.per_seed[a].min(),
                    "seed_max": found.per_seed[a].max(),
                    "n_seeds": len(test.seeds),
                    "n_items": len(test.labels),
                    "n_patients": int(test.patients.max()) + 1,
                    # with more than two classes: of the rarest
                    "n_positive_patients": int(class_patients[1] if len(class_patients) == 2 else class_patients.min()),
                    **counts.iloc[a].to_dict(),
                    "undefined_resamples": int(np.isnan(found.draws[a]).sum()),
                }
            )
    return pd.DataFrame(rows)


def _comparison_table(
    test: AlignedPredictions,
    resampled: dict[str, Resampled],
    baseline: str,
    references: Collection[str],
    class_patients: np.ndarray,
    resamples: int,
) -> pd.DataFrame:
    """Each arm against the baseline of the same schedule and fraction; Holm over the arms of one metric."""
    arms = test.arms
    rows = []
    for name, found in resampled.items():
        largest = np.ptp(bounds_of(name, len(class_patients)))  # draws that seeds widen may lie beyond it
        for a in np.flatnonzero(arms.method != baseline):
            arm = arms.iloc[a]
            draws = found.draws[a] - found.draws[_arm(arms, baseline, arm.schedule, arm.fraction)]
            low, high = np.clip(st.percentile_interval(draws), -largest, largest)
            rows.append(
                {
                    **arm[ARM].to_dict(),
                    "metric": name,
                    "baseline_method": baseline,
                    "baseline_schedule": arm.schedule,
                    "difference": found.value[a] - found.value[_arm(arms, baseline, arm.schedule, arm.fraction)],
                    "low": low,
                    "high": high,
                    "p": st.bootstrap_p_value(draws),
                    "reason": _why_not_testable(draws, test.labels, class_patients, len(test.seeds)),
                    "undefined_resamples": int(np.isnan(draws).sum()),
                    "uses_labels": arm.method in references,
                }
            )
    columns = [*ARM, "metric", "baseline_method", "baseline_schedule", "difference", "low", "high", "p", "p_holm"]
    columns += ["finding", "reason", "undefined_resamples", "uses_labels", "holm_family"]
    table = pd.DataFrame(rows)
    if table.empty:
        return pd.DataFrame(columns=columns)
    table["p"] = table.p.where(table.reason == "")
    families = table.groupby(["metric", "uses_labels"])
    table["p_holm"] = families.p.transform(lambda p: st.holm(p.to_numpy()))
    table["holm_family"] = families.p.transform("count").astype(int)
    # B resamples cannot show a p-value below 2 / (B + 1), which Holm multiplies by the size of the family.
    hopeless = (table.reason == "") & (table.holm_family * 2 / (resamples + 1) >= ALPHA)
    table.loc[hopeless, "reason"] = [
        f"{resamples} resamples cannot reach {ALPHA} after Holm over {count} comparisons"
        for count in table.holm_family[hopeless]
    ]
    better = {name: 1 if plugins.load("metrics", name).HIGHER_IS_BETTER else -1 for name in resampled}
    gain = table.difference * table.metric.map(better)
    significant = table.p_holm < ALPHA
    table["finding"] = np.select(
        [table.reason != "", significant & (gain > 0), significant & (gain < 0)], [NOT_TESTABLE, FOR, AGAINST], NONE
    )
    return table[columns]


def _arm(arms: pd.DataFrame, method: str, schedule: str, fraction: float) -> int:
    chosen = (arms.method == method) & (arms.schedule == schedule) & (arms.fraction == fraction)
    return int(np.flatnonzero(chosen)[0])


def _why_not_testable(draws: np.ndarray, labels: np.ndarray, class_patients: np.ndarray, seeds: int) -> str:
    """The first reason why a comparison cannot be tested, or an empty string."""
    rarest = int(class_patients.argmin())
    found = class_patients[rarest]
    if found < MIN_PATIENTS_PER_CLASS:
        patients = "patient" if found == 1 else "patients"
        return f"{found} test {patients} of class {rarest}: at least {MIN_PATIENTS_PER_CLASS} of each class are needed"
    if seeds < MIN_SEEDS:
        return f"{seeds} seed: at least {MIN_SEEDS} are needed to tell a method from luck in training"
    undefined = np.isnan(draws).mean()
    if undefined > MAX_UNDEFINED_SHARE:
        return f"the metric is undefined in {undefined:.0%} of resamples (a class is missing there)"
    return ""


def _savings_table(
    test: AlignedPredictions,
    resampled: dict[str, Resampled],
    counts: pd.DataFrame,
    comparisons: pd.DataFrame,
    baseline: str,
    references: Collection[str],
) -> pd.DataFrame:
    """Labels saved by each arm that pretrains without labels; `reason` where it cannot be said."""
    keys = [*ARM, "metric"]
    findings = comparisons.set_index(keys)[["finding", "reason"]]
    rows = []
    for name, found in resampled.items():
        higher = plugins.load("metrics", name).HIGHER_IS_BETTER
        groups = test.arms[~test.arms.method.isin([baseline, *references])].groupby(["method", "schedule"], sort=False)
        for (_, schedule), group in groups:
            own = group.sort_values("fraction").index.to_numpy()
            base = test.arms[(test.arms.method == baseline) & (test.arms.schedule == schedule)]
            base = base.sort_values("fraction").index.to_numpy()
            reason = _why_no_curve(counts.labelled_patients.iloc[base].to_numpy())
            results = [{}] * len(own)
            if not reason and np.isfinite(found.value[[*own, *base]]).all():
                results = label_savings.savings(
                    counts.labelled_patients.iloc[own].to_numpy(),
                    found.value[own],
                    found.draws[own],
                    counts.labelled_patients.iloc[base].to_numpy(),
                    found.value[base],
                    found.draws[base],
                    higher,
                )
            for a, result in zip(own, results, strict=True):
                arm = test.arms.loc[a, ARM].to_dict()
                finding, why = findings.loc[(*arm.values(), name)]
                rows.append(
                    {
                        **arm,
                        "metric": name,
                        "baseline_method": baseline,
                        "labelled_patients": counts.labelled_patients.iloc[a],
                        **_EMPTY_SAVING,
                        **result,
                        "finding": finding,
                        "reason": why or reason,
                    }
                )
    return pd.DataFrame(
        rows, columns=[*keys, "baseline_method", "labelled_patients", *_EMPTY_SAVING, "finding", "reason"]
    )


def _why_no_curve(labels: np.ndarray) -> str:
    if not np.isfinite(labels).all():
        return "the numbers of labelled patients are not known"
    if len(labels) < 2:
        return "the baseline was trained at one fraction only: it has no curve"
    if not (np.diff(labels) > 0).all():
        return f"labelled patients do not increase with the fraction: {[float(n) for n in labels]}"
    return ""


def _calibration_table(test: AlignedPredictions) -> pd.DataFrame:
    """Equal-mass bins over all seeds: p1 against the share of positives; with more classes confidence against accuracy.

    The interval is Wilson's with the number of distinct patients in the bin: several images of a patient, and the same
    image under several seeds, are not new evidence.
    """
    rows = []
    seeds, items, classes = test.probabilities.shape[1:]
    patients = np.tile(test.patients, seeds)
    for a, arm in enumerate(test.arms.itertuples(index=False)):
        pooled = test.probabilities[a].reshape(-1, classes)
        if classes == 2:
            said, happened = pooled[:, 1], np.tile(test.labels, seeds)
        else:
            said, happened = pooled.max(axis=1), predicted(pooled) == np.tile(test.labels, seeds)
        bins = int(np.clip(items // MIN_PREDICTIONS_PER_BIN, 1, CALIBRATION_BINS))
        for number, members in enumerate(np.array_split(np.argsort(said, kind="stable"), bins)):
            observed, count = float(happened[members].mean()), len(np.unique(patients[members]))
            low, high = st.wilson_interval(observed, count)
            rows.append(
                {
                    **arm._asdict(),
                    "bin": number,
                    "mean_predicted": float(said[members].mean()),
                    "observed": observed,
                    "low": float(low),
                    "high": float(high),
                    "n": len(members),
                    "n_patients": count,
                }
            )
    return pd.DataFrame(rows)


def _confusion_table(test: AlignedPredictions) -> pd.DataFrame:
    """Items of each true and predicted class, summed over seeds; every pair has a row."""
    rows = []
    classes = test.probabilities.shape[-1]
    for a, arm in enumerate(test.arms.itertuples(index=False)):
        pairs = test.labels * classes + predicted(test.probabilities[a])
        for pair, count in enumerate(np.bincount(pairs.ravel(), minlength=classes**2)):
            rows.append({**arm._asdict(), "true": pair // classes, "predicted": pair % classes, "n": int(count)})
    return pd.DataFrame(rows)

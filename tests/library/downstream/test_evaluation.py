"""The tables of a task: against scikit-learn, on constructed arms, and every way predictions can be wrong."""

import numpy as np
import pandas as pd
import pytest
from prediction_tables import FRACTIONS, LABELLED, predictions
from sklearn.metrics import brier_score_loss, confusion_matrix, roc_auc_score

from scanloom.downstream.aligned_predictions import EvaluationError
from scanloom.downstream.evaluation import AGAINST, FOR, NONE, NOT_TESTABLE, bounds_of, evaluate

CLASSES = ["no bleed", "bleed"]
RUN = {"labelled": LABELLED, "resamples": 400}


def scratch(fraction):
    return 1.0 + 0.4 * np.log10(100 * fraction)


def better(fraction):
    return scratch(fraction) + 1.5


@pytest.fixture(scope="module")
def table():
    return predictions({"from_scratch": scratch, "barlow_twins": better, "supervised": better})


@pytest.fixture(scope="module")
def evaluation(table):
    return evaluate(table, CLASSES, **RUN)


def test_values_are_scikit_learns_averaged_over_seeds(table, evaluation):
    for metric, score in (("auroc", roc_auc_score), ("brier", brier_score_loss)):
        for arm, rows in table.groupby(["method", "schedule", "fraction"]):
            theirs = [score(one.label, one.p1) for _, one in rows.groupby("seed")]
            ours = evaluation.metrics.set_index(["method", "schedule", "fraction", "metric"]).loc[(*arm, metric)]
            np.testing.assert_allclose(
                ours[["value", "seed_min", "seed_max"]].astype(float), [np.mean(theirs), min(theirs), max(theirs)]
            )
            assert ours.low < ours.value < ours.high
            assert (ours.n_items, ours.n_patients, ours.n_positive_patients, ours.n_seeds) == (320, 80, 40, 4)


def test_labelled_counts_are_those_of_the_fraction(evaluation):
    found = evaluation.metrics.groupby("fraction").labelled_patients.unique()
    assert [list(values) for values in found] == [[10], [100], [1000]]


def test_a_clear_gain_is_evidence_and_the_reference_has_a_family_of_its_own(evaluation):
    found = evaluation.comparisons[evaluation.comparisons.metric == "auroc"]
    assert set(found.method) == {"barlow_twins", "supervised"}
    assert (found.finding == FOR).all()
    assert (found.holm_family == 3).all()
    assert (found.p_holm >= found.p).all()
    assert (found.baseline_schedule == found.schedule).all()


def test_a_lower_brier_score_is_a_gain(evaluation):
    found = evaluation.comparisons.query("metric == 'brier' and fraction == 1.0")
    assert (found.difference < 0).all()
    assert (found.finding == FOR).all()


def test_a_clear_loss_is_evidence_against():
    table = predictions({"from_scratch": better, "barlow_twins": scratch})
    found = evaluate(table, CLASSES, metrics=["auroc"], **RUN).comparisons
    assert (found.finding == AGAINST).all()


def test_identical_arms_are_no_evidence_and_save_nothing():
    result = evaluate(predictions({"from_scratch": scratch, "barlow_twins": scratch}), CLASSES, **RUN)
    assert (result.comparisons.finding == NONE).all()
    assert (result.comparisons[["difference", "low", "high"]] == 0).all(axis=None)
    assert (result.comparisons.p_holm == 1).all()
    np.testing.assert_allclose(result.savings[["factor", "factor_low", "factor_high"]], 1)


def test_families_of_null_studies_are_rarely_rejected():
    """60 null studies of 3 comparisons, each arm with its own noise: at most 5 % of studies, and twice its error."""
    rejected = 0
    for number in range(60):
        size = {"patients": 60, "seeds": 3}
        own = predictions({"from_scratch": scratch}, noise_seed=number, **size)
        other = predictions({"barlow_twins": scratch}, noise_seed=1000 + number, **size)
        found = evaluate(pd.concat([own, other]), CLASSES, metrics=["auroc"], resamples=200, seed=number).comparisons
        rejected += (found.finding != NONE).any()
    assert rejected / 60 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)


def test_findings_follow_the_p_value_after_holm_and_not_the_plain_one():
    """Weak gains, each arm with its own noise: among 10 studies some p lies between 0.05 and 0.05 / 3."""
    found = []
    for number in range(10):
        own = predictions({"from_scratch": scratch}, noise_seed=number)
        other = predictions({"barlow_twins": lambda fraction: scratch(fraction) + 0.3}, noise_seed=100 + number)
        found.append(evaluate(pd.concat([own, other]), CLASSES, metrics=["auroc"], resamples=400).comparisons)
    found = pd.concat(found)
    assert ((found.p < 0.05) & (found.p_holm >= 0.05)).any()
    assert ((found.finding == FOR) == ((found.p_holm < 0.05) & (found.difference > 0))).all()


def test_more_copies_of_a_patients_images_are_no_more_evidence(table):
    copies = table.assign(item_id="copy-" + table.item_id)
    once, twice = (evaluate(rows, CLASSES, metrics=["auroc"], **RUN) for rows in (table, pd.concat([table, copies])))
    for name, columns in (("metrics", ["value", "low", "high"]), ("comparisons", ["difference", "low", "high", "p"])):
        np.testing.assert_allclose(getattr(twice, name)[columns], getattr(once, name)[columns], atol=1e-12)


def test_savings_leave_out_the_baseline_and_the_reference(evaluation):
    assert set(evaluation.savings.method) == {"barlow_twins"}
    first = evaluation.savings.query("metric == 'auroc' and fraction == 0.01").iloc[0]
    assert first.finding == FOR
    assert first.factor_low > 1 or first.low_censored == "above"


def test_savings_say_why_they_cannot_be_said(table):
    without_counts = evaluate(table, CLASSES, metrics=["auroc"], resamples=400).savings
    assert set(without_counts.reason) == {"the numbers of labelled patients are not known"}
    one = evaluate(table[table.fraction == 0.1], CLASSES, metrics=["auroc"], **RUN).savings
    assert set(one.reason) == {"the baseline was trained at one fraction only: it has no curve"}
    assert one.factor.isna().all()


def test_only_test_predictions_count(table, evaluation):
    validation = table.assign(split="validation", patient_id="v" + table.patient_id, p1=table.p0, p0=table.p1)
    both = evaluate(pd.concat([table, validation]), CLASSES, **RUN)
    pd.testing.assert_frame_equal(both.metrics, evaluation.metrics)


def test_the_order_of_rows_does_not_matter(table, evaluation):
    shuffled = evaluate(table.sample(frac=1, random_state=0), CLASSES, **RUN)
    for name in ("metrics", "comparisons", "savings", "calibration", "confusion"):
        pd.testing.assert_frame_equal(getattr(shuffled, name), getattr(evaluation, name))


def test_confusion_equals_scikit_learn_summed_over_seeds(table, evaluation):
    rows = table.query("method == 'barlow_twins' and fraction == 0.1")
    theirs = confusion_matrix(rows.label, rows.p1 > 0.5)
    ours = evaluation.confusion.query("method == 'barlow_twins' and fraction == 0.1")
    assert ours.set_index(["true", "predicted"]).n.unstack().to_numpy().tolist() == theirs.tolist()


def test_calibration_bins_hold_equally_many_and_every_prediction_once(table, evaluation):
    rows = table.query("method == 'from_scratch' and fraction == 1.0")
    bins = evaluation.calibration.query("method == 'from_scratch' and fraction == 1.0")
    assert bins.n.sum() == len(rows)
    assert bins.n.max() - bins.n.min() <= 1
    assert np.average(bins.observed, weights=bins.n) == pytest.approx(rows.label.mean())
    assert np.average(bins.mean_predicted, weights=bins.n) == pytest.approx(rows.p1.mean())
    assert bins.mean_predicted.is_monotonic_increasing
    assert ((bins.low <= bins.observed) & (bins.observed <= bins.high)).all()
    assert (bins.n_patients <= 80).all()


@pytest.mark.parametrize(("level", "unit", "items"), [("series", "series_id", 160), ("patient", "patient_id", 80)])
@pytest.mark.parametrize("aggregate", ["mean", "max"])
def test_images_become_one_item_per_level(table, level, unit, items, aggregate):
    result = evaluate(table, CLASSES, level=level, aggregate=aggregate, metrics=["auroc"], **RUN)
    found = result.metrics.query("method == 'barlow_twins' and fraction == 0.01").iloc[0]
    assert (found.n_items, found.n_patients) == (items, 80)
    rows = table.query("method == 'barlow_twins' and fraction == 0.01").groupby(["seed", unit])
    whole = rows.agg({"label": "max", "p1": aggregate}).reset_index()
    assert found.value == pytest.approx(np.mean([roc_auc_score(s.label, s.p1) for _, s in whole.groupby("seed")]))


def test_a_patient_is_positive_where_any_image_is():
    table = predictions({"from_scratch": scratch}, patients=30)
    table["label"] = table.item_id.isin([f"i{4 * p:04d}" for p in range(15)]).astype(int)
    result = evaluate(table, CLASSES, level="patient", metrics=["auroc"], resamples=200)
    assert set(result.metrics.n_positive_patients) == {15}


def test_several_classes_are_macro_averages_and_a_mixed_patient_is_an_error():
    table = predictions({"from_scratch": scratch, "barlow_twins": better}, classes=4)
    result = evaluate(table, list("abcd"), kind="multiclass", **RUN)
    rows = table.query("method == 'barlow_twins' and fraction == 1.0")
    of_seeds = [roc_auc_score(s.label, s[["p0", "p1", "p2", "p3"]], multi_class="ovr") for _, s in rows.groupby("seed")]
    found = result.metrics.query("method == 'barlow_twins' and fraction == 1.0 and metric == 'auroc'")
    assert found.value.iloc[0] == pytest.approx(np.mean(of_seeds))
    assert (result.comparisons.query("metric == 'auroc'").finding == FOR).all()
    table.loc[table.item_id == "i0000", "label"] = 1  # the patient's other images are of class 0
    with pytest.raises(EvaluationError, match=f"{2 * 3 * 4} of patient_id have images of several classes"):
        evaluate(table, list("abcd"), kind="multiclass", level="patient", **RUN)


def test_too_few_patients_of_a_class_one_seed_or_too_few_resamples_are_not_testable():
    arms = {"from_scratch": scratch, "barlow_twins": better}
    few = evaluate(predictions(arms, patients=18), CLASSES, metrics=["auroc"], **RUN).comparisons
    assert set(few.finding) == {NOT_TESTABLE}
    assert few.reason.str.startswith("9 test patients of class 0").all()
    assert few[["p", "p_holm"]].isna().all(axis=None)
    one = evaluate(predictions(arms, seeds=1), CLASSES, metrics=["auroc"], **RUN).comparisons
    assert set(one.finding) == {NOT_TESTABLE}
    assert one.reason.str.startswith("1 seed:").all()
    coarse = evaluate(predictions(arms), CLASSES, metrics=["auroc"], resamples=100).comparisons
    assert set(coarse.reason) == {"100 resamples cannot reach 0.05 after Holm over 3 comparisons"}


def test_a_brier_score_of_two_classes_is_at_most_one():
    """Of more it may reach 2 (Brier 1950: summed over classes)."""
    assert bounds_of("brier", 2) == (0.0, 1.0)
    assert bounds_of("brier", 3) == (0.0, 2.0)
    assert bounds_of("auroc", 2) == (0.0, 1.0)


def test_intervals_of_differences_stay_within_what_is_possible():
    """Two seeds that disagree widen an interval by a t distribution of one degree of freedom."""
    few = {"patients": 6, "seeds": 2}
    arms = [
        predictions({name: lambda _: 0.0}, **few, noise_seed=n) for n, name in enumerate(("from_scratch", "vicreg"))
    ]
    found = evaluate(pd.concat(arms, ignore_index=True), CLASSES, metrics=["auroc", "brier"], **RUN).comparisons
    largest = found.metric.map({"auroc": 1.0, "brier": 1.0})  # both from 0 to 1
    assert (found.low >= -largest).all()
    assert (found.high <= largest).all()
    assert (found.low[found.metric == "auroc"] == -1).any()


def test_an_absent_class_leaves_the_metric_undefined_and_says_so():
    table = predictions({"from_scratch": scratch, "barlow_twins": better}).assign(label=0)
    result = evaluate(table, CLASSES, metrics=["auroc", "accuracy"], **RUN)
    found = result.metrics.groupby("metric").value.apply(lambda values: values.isna().all())
    assert found.to_dict() == {"accuracy": False, "auroc": True}
    assert (result.metrics.query("metric == 'auroc'").undefined_resamples == RUN["resamples"]).all()
    assert set(result.comparisons.finding) == {NOT_TESTABLE}


def test_the_baseline_is_mandatory_at_every_schedule_and_fraction(table):
    with pytest.raises(EvaluationError, match="no test predictions of the baseline 'from_scratch'"):
        evaluate(table[table.method != "from_scratch"], CLASSES, **RUN)
    gap = table[(table.method != "from_scratch") | (table.fraction != 0.1)]
    with pytest.raises(EvaluationError, match=r"schedule 'finetuned', fraction 0.1 \(1 such arms\)"):
        evaluate(gap, CLASSES, **RUN)


def break_table(table, how):
    table = table.copy()
    first = table.index[0]
    if how == "missing item":
        return table.drop(first)
    if how == "twice":
        return pd.concat([table, table.loc[[first]]])
    if how == "other label":
        table.loc[first, "label"] = 1 - table.label[first]
    if how == "other patient":
        table.loc[first, "patient_id"] = "p079"
    if how == "NaN":
        table.loc[first, "p1"] = np.nan
    if how == "sum":
        table.loc[first, "p1"] = table.p1[first] / 2
    if how == "label 2":
        table["label"] = table.label * 2
    if how == "two splits":
        table.loc[first, "split"] = "validation"
    if how == "no column":
        return table.drop(columns="p1")
    if how == "third class":
        return table.assign(p2=0.0)
    return table


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing item", "i0000 has 0 predictions instead of 1 in arm from_scratch/finetuned/0.01, seed 0"),
        ("twice", "i0000 has 2 predictions instead of 1"),
        ("other label", "i0000 has different labels"),
        ("other patient", "i0000 has different patients"),
        ("NaN", "item i0000: probabilities .*nan"),
        ("sum", "between 0 and 1 with sum 1"),
        ("label 2", r"labels \[2\] are not classes 0..1"),
        ("two splits", "patient p000 has predictions in several splits"),
        ("no column", "predictions lack the columns p1"),
        ("third class", "a column p2, but the task has 2 classes"),
    ],
)
def test_wrong_predictions_are_named(table, how, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate(break_table(table, how), CLASSES, **RUN)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "ordinal"}, "kind 'ordinal'"),
        ({"level": "slice"}, "level 'slice' must be one of image, series, patient"),
        ({"aggregate": "median"}, "aggregate 'median' must be mean or max"),
    ],
)
def test_wrong_options_are_named(table, options, message):
    with pytest.raises(EvaluationError, match=message):
        evaluate(table, CLASSES, **options, **RUN)


def test_facts_say_what_the_numbers_rest_on(evaluation):
    facts = evaluation.facts
    assert (facts["test_patients"], facts["test_items"], facts["seeds"]) == (80, 320, [0, 1, 2, 3])
    assert facts["references"] == ["supervised"]
    assert list(FRACTIONS) == sorted(evaluation.metrics.fraction.unique())

"""The generated sentences on constructed studies, the exact null among them."""

import json

import numpy as np
import pandas as pd
import pytest
from prediction_tables import LABELLED, predictions

from scanloom.downstream.evaluation import AGAINST, FOR, NONE, NOT_TESTABLE, evaluate
from scanloom.downstream.verdict import MIXED, signed, spoken_p, verdict

CLASSES = ["no bleed", "bleed"]


def flat(distance):
    return lambda fraction: distance


def rising(fraction):
    return 1.0 + 0.6 * np.log10(100 * fraction)


def found(separations, **options):
    table = predictions(separations, **options)
    return verdict(evaluate(table, CLASSES, metrics=["auroc"], labelled=LABELLED, resamples=400), "bleed")


def test_identical_arms_are_no_evidence_in_every_sentence():
    result = found({"from_scratch": rising, "barlow_twins": rising})
    assert result["finding"] == NONE
    assert result["headline"] == "bleed: no evidence that pretraining saves labels (3 comparisons tested)."
    text = result["sentences"][0]["text"]
    assert text.startswith(
        "barlow_twins, finetuned: no evidence of a difference from from_scratch. At 1 % of the labels"
    )
    assert "AUROC 0.000, 95 % interval 0.000 to 0.000; p = 1.000" in text
    assert "p after Holm over 3 comparisons." in text
    assert "Without evidence of a gain, no labels are said to be saved." in text
    assert text.endswith("80 test patients, 4 seeds.")


def test_a_gain_at_every_fraction_names_size_interval_and_labels_saved():
    result = found({"from_scratch": rising, "barlow_twins": lambda fraction: rising(fraction) + 0.8})
    assert result["finding"] == FOR
    assert (
        "evidence that pretraining helps: barlow_twins finetuned at 1 %, 10 % and 100 % of the labels"
        in (result["headline"])
    )
    first = result["sentences"][0]["fractions"][0]
    assert first["savings"]["said"]
    assert (
        f"10 labelled patients are worth {first['savings']['baseline_labels']:.0f} of the baseline's"
        in (result["headline"])
    )
    text = result["sentences"][0]["text"]
    assert f"a gain (AUROC {signed(first['difference'])}, 95 % interval {signed(first['low'])}" in text
    assert "At 100 %, 1000 labelled patients are worth more than all 1000 of the baseline's" in text
    assert "how many are saved lies beyond the baseline's curve" in text


def test_means_alone_never_make_a_sentence():
    """The mean gain is positive at every fraction, yet smaller than what patients and seeds leave open."""
    size = {"patients": 40, "seeds": 3}
    own = predictions({"from_scratch": rising}, **size)
    other = predictions({"barlow_twins": lambda fraction: rising(fraction) + 0.15}, noise_seed=1, **size)
    evaluation = evaluate(pd.concat([own, other]), CLASSES, metrics=["auroc"], labelled=LABELLED, resamples=400)
    result = verdict(evaluation, "bleed")
    rows = result["sentences"][0]["fractions"]
    assert all(row["difference"] > 0 and row["low"] < 0 for row in rows)
    assert result["finding"] == NONE
    assert not any(row["savings"]["said"] for row in rows)
    assert "a gain" not in result["headline"]


def test_a_loss_is_said_and_saves_nothing():
    result = found({"from_scratch": lambda fraction: rising(fraction) + 1, "barlow_twins": rising})
    assert result["finding"] == AGAINST
    assert "evidence that pretraining hurts: barlow_twins finetuned at" in result["headline"]
    assert result["headline"].endswith("no evidence that it saves labels.")
    assert "evidence of a loss against from_scratch" in result["sentences"][0]["text"]
    assert not any(row["savings"]["said"] for row in result["sentences"][0]["fractions"])


def test_gain_at_few_and_loss_at_many_labels_are_both_said():
    crossing = {0.01: 2.4, 0.1: 1.6, 1.0: 1.0}
    result = found({"from_scratch": rising, "barlow_twins": crossing.get})
    assert result["finding"] == MIXED
    assert "helps: barlow_twins finetuned at 1 % of the labels" in result["headline"]
    assert "hurts: barlow_twins finetuned at 100 % of the labels" in result["headline"]


def test_not_testable_says_why_and_claims_nothing():
    result = found({"from_scratch": flat(1), "barlow_twins": flat(3)}, patients=18)
    assert result["finding"] == NOT_TESTABLE
    why = "9 test patients of class 0: at least 10 of each class are needed"
    assert result["headline"] == f"bleed: whether pretraining saves labels is not testable here: {why}."
    assert result["sentences"][0]["text"] == (
        f"barlow_twins, finetuned: not testable against from_scratch. {why}. 18 test patients, 4 seeds."
    )


def test_a_method_that_uses_labels_is_a_reference_and_never_a_label_saver():
    result = found({"from_scratch": rising, "supervised": lambda fraction: rising(fraction) + 2})
    sentence = result["sentences"][0]
    assert sentence["uses_labels"]
    assert "reference: it is pretrained with labels and cannot save any" in sentence["text"]
    assert "worth" not in sentence["text"]
    assert all(row["savings"] is None for row in sentence["fractions"])
    assert result["headline"] == "bleed: no method that pretrains without labels was compared with from_scratch."


def test_the_baseline_is_always_printed_beside():
    result = found({"from_scratch": rising, "barlow_twins": rising}, schedules=("frozen", "finetuned"))
    assert [(row["schedule"], row["fraction"]) for row in result["baseline"]] == [
        (schedule, fraction) for schedule in ("finetuned", "frozen") for fraction in (0.01, 0.1, 1.0)
    ]
    row = result["baseline"][0]
    assert row["text"] == (
        f"from_scratch, finetuned, 1 % of the labels with 10 labelled patients: AUROC {row['value']:.3f} "
        f"(95 % interval {row['low']:.3f} to {row['high']:.3f})"
    )


def test_a_frozen_gain_is_told_apart_from_one_in_use():
    result = found({"from_scratch": rising, "barlow_twins": rising}, schedules=("frozen",))
    assert "here an untrained encoder under the same linear probe" in result["sentences"][0]["text"]
    assert any("untrained frozen encoder" in note for note in result["notes"])


def test_what_the_intervals_do_not_cover_is_said():
    result = found({"from_scratch": rising, "barlow_twins": rising}, seeds=3)
    assert any("pretrained once" in note for note in result["notes"])
    assert any("five seeds or more" in note for note in result["notes"])


@pytest.mark.parametrize(
    ("p", "said"), [(0.0004, "< 0.001"), (0.012, "0.012"), (0.049975, "0.049975"), (0.0502, "0.050"), (0.05, "0.050")]
)
def test_a_p_value_is_never_rounded_across_the_limit(p, said):
    assert spoken_p(p) == said


def test_it_is_json_without_nan():
    result = found({"from_scratch": flat(1), "barlow_twins": flat(3)}, seeds=1)
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_a_metric_that_was_not_evaluated_is_an_error():
    evaluation = evaluate(predictions({"from_scratch": rising}), CLASSES, metrics=["auroc"], resamples=200)
    with pytest.raises(ValueError, match="metric 'auprc' was not evaluated: auroc"):
        verdict(evaluation, "bleed", metric="auprc")

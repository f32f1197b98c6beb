"""One trial: what it leaves, what it must not see, and outcomes that are no errors."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny_corpus import TinyCorpus

from scanloom.downstream.downstream_task import Task
from scanloom.searches import trials

TASK = Task("bright", ("dark", "bright"), "binary")
JOB = {
    "method": "barlow_twins",
    "method_settings": {"projector": [8]},
    "encoder": {"name": "small_cnn", "settings": {"width": 4}},
    "views": [{"name": "flip", "settings": {}}],
    "budget": {
        "updates": 4, "batch": 8, "learning_rate": 0.001, "warmup_updates": 0, "weight_decay": 0.0, "interval": 2,
    },
    "seed": 3,
}  # fmt: skip
PROBE = {"arms": {"frozen": {"l2": [1.0]}}, "fraction": 1.0, "draws": [0]}


class Shards(TinyCorpus):
    """The tiny corpus with splits and a label that the mean of an image decides."""

    def __init__(self, splits=("train", "validation")):
        super().__init__()
        patient = np.arange(48) // 4
        bright = self._images.mean(axis=(1, 2, 3))
        self.table = self.table.assign(
            split=np.array(splits)[patient % len(splits)],
            series_id=[f"series{p}" for p in patient],
            bright=(bright > np.median(bright)).astype(np.float32),
        )


def run(job, folder, **changed):
    shards = Shards()
    fraction = pd.DataFrame(
        {"seed": 0, "patient_id": sorted(set(shards.table.patient_id[shards.table.split == "train"]))}
    )
    corpus = TinyCorpus()
    given = {
        "corpus": corpus, "allowed_patients": set(corpus.table.patient_id), "task_shards": shards, "task": TASK,
        "fraction_table": fraction,
    }  # fmt: skip
    trials.run_trial(job, **(given | changed), folder=folder)
    tables = [pd.read_parquet(folder / file) for file in ("curve.parquet", "predictions.parquet")]
    return json.loads((folder / "result.json").read_text()), *tables


def test_a_trial_leaves_its_history_and_validation_predictions_alone(tmp_path):
    result, curve, predictions = run(JOB | PROBE, tmp_path)
    assert result["outcome"] == "finished", result
    assert curve.step.tolist() == [2, 4]
    assert np.isfinite(curve.loss).all()
    validation = Shards().table.query("split == 'validation'")
    assert set(predictions.item_id) == set(validation.item_id)
    assert set(predictions.split) == {"validation"}
    assert len(predictions) == len(validation)
    assert result["frozen_candidates"] == ["C=1"]
    assert {"final_loss", "rankme", "embedding_std", "collapsed", "parameters", "seconds"} <= set(result)


def test_a_range_test_leaves_a_curve_and_advice_and_needs_no_labels(tmp_path):
    job = JOB | {"learning_rates": [1e-4, 1.0], "budget": JOB["budget"] | {"updates": 20}}
    result, curve, predictions = run(job, tmp_path, task_shards=None, fraction_table=None)
    assert result["outcome"] == "finished"
    assert {"suggested", "lowest_at", "steepest_at", "rose"} <= set(result)
    np.testing.assert_allclose(curve.learning_rate, np.geomspace(1e-4, 1.0, 20)[: len(curve)])
    assert predictions.empty


def test_a_method_that_trains_nothing_needs_no_views_and_hardly_a_budget(tmp_path):
    """What `studies._job` says of such a trial with a frozen probe."""
    given = {"method": "from_scratch", "method_settings": {}, "views": [], "budget": {"batch": 8, "monitors": {}}}
    result, _, predictions = run(JOB | PROBE | given, tmp_path)
    assert result["outcome"] == "finished", result
    assert set(predictions.split) == {"validation"}
    assert result["rankme"] > 1


def test_a_trial_refuses_test_images_and_strangers(tmp_path):
    with pytest.raises(ValueError, match="train and validation images alone"):
        run(JOB | PROBE, tmp_path, task_shards=Shards(("train", "validation", "test")))
    with pytest.raises(ValueError, match="not in the corpus' list of allowed patients"):
        run(JOB | PROBE, tmp_path, allowed_patients={"patient0"})
    assert not (tmp_path / "result.json").exists()


def test_settings_that_do_not_fit_are_an_outcome_with_its_reason(tmp_path):
    result, curve, predictions = run(JOB | PROBE | {"budget": JOB["budget"] | {"batch": 99}}, tmp_path)
    assert result["outcome"] == "refused"
    assert "a batch of 99 images is larger than the corpus" in result["reason"]
    assert curve.empty
    assert predictions.empty


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"method": "rotation", "method_settings": {"turns_per_image": 5}}, "turns"),
        ({"method": "cpc", "method_settings": {"skip": 0}}, "skip"),
        ({"method": "beta_tc_vae", "method_settings": {"dataset_size": 4}}, "dataset_size"),
        ({"views": [{"name": "greyscale", "settings": {}}]}, "no colours"),
        ({"budget": JOB["budget"] | {"keep": "best", "best_by": "accuracy"}}, "no column 'accuracy'"),
        ({"budget": JOB["budget"] | {"early_stopping": {"metric": "accuracy"}}}, "no column 'accuracy'"),
    ],
    ids=["turns", "skip", "dataset size", "view", "best_by", "early stopping"],
)
def test_what_shows_only_with_images_is_an_outcome_too(tmp_path, changed, reason):
    result, _, _ = run(JOB | PROBE | changed, tmp_path)
    assert result["outcome"] == "refused"
    assert reason in result["reason"]


def test_a_loss_that_is_not_finite_is_an_outcome(tmp_path, monkeypatch):
    def diverging(*arguments, **settings):
        raise FloatingPointError("loss is nan at update 2")

    monkeypatch.setattr(trials, "pretrain", diverging)
    result, _, _ = run(JOB | PROBE, tmp_path)
    assert (result["outcome"], result["reason"]) == ("diverged", "loss is nan at update 2")


def test_features_that_are_not_finite_are_an_outcome(tmp_path, monkeypatch):
    def collapsed(*arguments, folder, **settings):
        pd.DataFrame({"step": [3], "embedding_std": [np.nan], "rankme": [np.nan]}).to_parquet(
            folder / "history.parquet"
        )
        return {
            "parameters": 1,
            "epochs": 1.0,
            "collapsed": True,
            "final_loss": 1.0,
            "collapse_cause": "too high a rate",
        }

    monkeypatch.setattr(trials, "pretrain", collapsed)
    result, _, predictions = run(JOB | PROBE, tmp_path)
    assert (result["outcome"], result["reason"]) == ("diverged", "too high a rate")
    assert predictions.empty


def test_memory_that_runs_out_is_an_outcome(tmp_path):
    """TensorFlow's own error: a layer of 3,000,000 x 3,000,000 numbers is 36 TB."""
    result, _, predictions = run(JOB | PROBE | {"method_settings": {"projector": [3_000_000, 3_000_000]}}, tmp_path)
    assert result["outcome"] == "out of memory", result
    assert predictions.empty


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (FloatingPointError("loss is nan"), "diverged"),
        (trials.DoesNotFit("too few images of a class"), "refused"),
        (MemoryError(), "out of memory"),
    ],
)
def test_a_probe_that_cannot_be_made_is_an_outcome_and_keeps_what_is_known_of_the_pretraining(
    tmp_path, monkeypatch, error, outcome
):
    monkeypatch.setattr(trials, "_probed", lambda *given: (_ for _ in ()).throw(error))
    result, curve, predictions = run(JOB | PROBE, tmp_path)
    assert (result["outcome"], bool(result["reason"])) == (outcome, True)
    assert len(curve) == 2
    assert result["final_loss"] > 0
    assert predictions.empty


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_other_errors_are_errors(tmp_path, monkeypatch, error):
    """A damaged shard or a fault of the code must not pass for settings that do not fit, and be remembered as such."""
    monkeypatch.setattr(trials, "pretrain", lambda *a, **k: (_ for _ in ()).throw(error("broken")))
    with pytest.raises(error, match="broken"):
        run(JOB | PROBE, tmp_path)

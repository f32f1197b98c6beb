"""Searches in the workflow: planned by the study alone, run beside it, and never part of the verdict."""

import pandas as pd
import pytest

WIDER = {"kind": "grid", "updates": 4, "vary": {"methods.barlow_twins.off_diagonal_weight": [0.005, 0.05]}}
SEARCHES = {
    "weight": WIDER,
    "rates": {"kind": "learning_rate_range", "updates": 20},
    "fits": {"kind": "resource_check", "sizes_px": [16], "batches": [8, 16], "updates": 2},
}


@pytest.fixture
def workflow(finished_workflow):
    """The finished study, which afterwards is as it was."""
    kept = finished_workflow.study
    finished_workflow.study = kept | {"studies": SEARCHES}
    finished_workflow.write_study()
    yield finished_workflow
    finished_workflow.study = kept
    finished_workflow.write_study()


def changed(workflow, **search):
    workflow.study = workflow.study | {"studies": {**workflow.study["studies"], **search}}
    workflow.write_study()


def test_searches_add_their_own_jobs_and_the_report_and_touch_nothing_else(workflow):
    assert workflow.planned("results/report.html") == {
        "run_trial": 3, "rank_trials": 2, "check_resources": 1, "build_report": 1,
    }  # fmt: skip


def test_a_misspelt_path_stops_the_workflow_with_a_suggestion(workflow):
    changed(workflow, weight=WIDER | {"vary": {"methods.barlow_twins.off_diagonal_wait": [1]}})
    done = workflow.snakemake("--dry-run", check=False)
    assert done.returncode != 0
    assert "Did you mean 'off_diagonal_weight'?" in done.stdout + done.stderr


def test_a_search_runs_and_one_more_value_runs_one_more_trial(workflow):
    """Three short trainings and two measurements, each a process of its own: a minute."""
    folder = workflow.folder / "results" / "studies"
    targets = [f"results/studies/{n}/ranking.parquet" for n in ("weight", "rates")]
    workflow.snakemake(*targets, "results/studies/fits/resources.parquet")
    ranking = pd.read_parquet(folder / "weight" / "ranking.parquet")
    assert ranking["rank"].tolist() == [1, 2]
    assert ranking.frozen.between(0, 1).all()
    assert ranking.frozen.is_monotonic_decreasing
    trials = list((folder / "weight" / "trials").iterdir())
    for trial in trials:
        seen = pd.read_parquet(trial / "predictions.parquet")
        assert set(seen.split) == {"validation"}
    assert set(pd.read_parquet(folder / "fits" / "resources.parquet").outcome) == {"ok"}
    assert pd.read_parquet(folder / "rates" / "curves.parquet").loss.notna().any()
    changed(workflow, weight=WIDER | {"vary": {"methods.barlow_twins.off_diagonal_weight": [0.001, 0.005, 0.05]}})
    assert workflow.planned(*targets) == {"run_trial": 1, "rank_trials": 1}

"""Metrics, intervals, comparisons, labels saved and the verdict of one task, from every arm's test predictions."""

import json
from pathlib import Path

import pandas as pd

from scanloom.downstream.evaluation import evaluate
from scanloom.downstream.verdict import verdict
from scanloom.provenance import stamp
from scanloom.splitting.splits import assert_predictions_match
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    predictions = pd.concat([pd.read_parquet(path) for path in snakemake.input.predictions], ignore_index=True)
    assert_predictions_match(predictions, pd.read_parquet(snakemake.input.splits))
    labelled = pd.concat([pd.read_parquet(path) for path in snakemake.input.selections], ignore_index=True)
    evaluation = evaluate(
        predictions,
        params.label["classes"],
        kind=params.label["kind"],
        level=params.level,
        aggregate=params.aggregate,
        references=params.references,
        metrics=params.evaluation["metrics"],
        labelled=labelled,
        resamples=params.evaluation["resamples"],
        seed=params.seed,
    )
    for part in ("metrics", "comparisons", "savings", "calibration", "confusion"):
        getattr(evaluation, part).to_parquet(snakemake.output[part], index=False)
    sentences = verdict(evaluation, snakemake.wildcards.task, params.evaluation["main_metric"])
    Path(snakemake.output.verdict).write_text(json.dumps(sentences, indent=1, allow_nan=False) + "\n")
    stamp(
        snakemake.output.origin,
        snakemake.rule,
        {"evaluation": params.evaluation, "level": params.level, "label": params.label},
        [*snakemake.input.predictions, snakemake.input.splits],
        params.code,
    )

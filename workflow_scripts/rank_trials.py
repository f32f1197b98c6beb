"""The trials of one search, the best on validation first, and their curves."""

import json
from pathlib import Path

import pandas as pd

from scanloom.provenance import stamp
from scanloom.searches.trial_ranking import advise, curves, rank
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params, paths = snakemake.params, snakemake.input
    results = [json.loads(Path(path).read_text()) for path in paths.results]
    trials = [about | result for about, result in zip(params.trials, results, strict=True)]
    ids = [trial["id"] for trial in trials]
    predictions = {id: pd.read_parquet(path) for id, path in zip(ids, paths.predictions, strict=True)}
    curve_tables = {id: pd.read_parquet(path) for id, path in zip(ids, paths.curves, strict=True)}
    if params.protocol["arms"]:
        ranking = rank(
            trials,
            predictions,
            params.label["classes"],
            kind=params.label["kind"],
            **params.protocol,
            seed=params.seed,
        )
    else:
        ranking = advise(trials)
    ranking.to_parquet(snakemake.output.ranking, index=False)
    curves(trials, curve_tables).to_parquet(snakemake.output.curves, index=False)
    stamp(
        snakemake.output.origin,
        snakemake.rule,
        {"trials": params.trials, "protocol": params.protocol, "label": params.label},
        [*paths.results, *paths.predictions],
        params.code,
    )

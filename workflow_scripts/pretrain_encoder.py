"""Train one method's encoder on the corpus, or find the finished run, or go on with the interrupted one."""

from pathlib import Path

import pandas as pd

from scanloom.pretraining.pretraining_run import Budget, pretrain
from scanloom.pretraining.view_choice import pairs
from scanloom.provenance import framework_versions, stamp
from scanloom.run_store import open_run, sha256_of
from scanloom.shards.records import open_shards
from scanloom.shards.shard_index import manifests_of
from scanloom.step_log import log_to
from scanloom.training.backend import limit_threads

PUBLISHED = {
    "encoder": "encoder.keras",
    "history": "history.parquet",
    "run": "run.json",
    "pictures": "pictures.npz",
}

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params, method = snakemake.params, snakemake.wildcards.method
    inputs = [*snakemake.input.indexes, snakemake.input.patients, *snakemake.input.weights]
    settings = {key: params[key] for key in ("method", "budget", "encoder", "views", "seed", "code")}
    job = {
        "kind": "pretrain",
        "name": method,
        "versions": framework_versions(),
        "data": [sha256_of(path) for path in inputs],
    }
    run = open_run(params.runs, job | settings)
    if run.finished():
        print(f"run {run.fingerprint} is finished: reused")
    else:
        limit_threads(snakemake.threads)
        pretrain(
            open_shards(manifests_of(*snakemake.input.indexes), params.splits),
            set(pd.read_parquet(snakemake.input.patients).patient_id),
            method=method,
            method_settings=params.method,
            encoder=params.encoder["name"],
            encoder_settings=params.encoder["settings"],
            views=pairs(params.views),
            budget=Budget(**params.budget),
            seed=params.seed,
            folder=run.folder,
        )
        run.finish(list(PUBLISHED.values()))
    for name, file in PUBLISHED.items():
        run.publish(file, Path(snakemake.output[name]))
    stamp(snakemake.output.origin, snakemake.rule, settings, inputs, params.code)

"""One trial of a search, or the finished run of it."""

from pathlib import Path

import pandas as pd

from scanloom.downstream.downstream_task import Task
from scanloom.provenance import framework_versions
from scanloom.run_store import open_run, sha256_of
from scanloom.searches.trials import FILES, SEEN, run_trial
from scanloom.shards.records import open_shards
from scanloom.shards.shard_index import manifests_of
from scanloom.step_log import log_to
from scanloom.training.backend import limit_threads

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params, probe = snakemake.params, "fraction" in snakemake.params.job
    inputs = [*snakemake.input.indexes, snakemake.input.patients, *snakemake.input.weights]
    inputs += [snakemake.input.index, snakemake.input.fraction] if probe else []
    what = {"kind": "trial", "job": params.job, "label": params.label, "code": params.code}
    data = [sha256_of(path) for path in inputs]
    run = open_run(params.runs, what | {"versions": framework_versions(), "data": data})
    if run.finished():
        print(f"run {run.fingerprint} is finished: reused")
    else:
        limit_threads(snakemake.threads)
        run_trial(
            params.job,
            open_shards(manifests_of(*snakemake.input.indexes), params.job["splits"]),
            set(pd.read_parquet(snakemake.input.patients).patient_id),
            open_shards(manifests_of(snakemake.input.index), SEEN) if probe else None,
            Task(params.label["column"], tuple(params.label["classes"]), params.label["kind"]),
            pd.read_parquet(snakemake.input.fraction) if probe else None,
            run.folder,
        )
        run.finish(list(FILES))
    for file in FILES:
        run.publish(file, Path(snakemake.output[Path(file).stem]))

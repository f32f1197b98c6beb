"""The finetuned arm of one method at one fraction: every seed and learning-rate candidate, chosen on validation."""

from pathlib import Path

import pandas as pd

from scanloom import plugins
from scanloom.downstream.arms import Finetuned
from scanloom.downstream.downstream_task import Arm, Task
from scanloom.downstream.finetuning import finetune
from scanloom.pretraining.view_choice import pairs
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.provenance import framework_versions, stamp
from scanloom.run_store import open_run, sha256_of
from scanloom.shards.records import open_shards
from scanloom.shards.shard_index import manifests_of
from scanloom.step_log import log_to
from scanloom.training.backend import limit_threads

PUBLISHED = {name: f"{name}.parquet" for name in ("predictions", "selection", "history")} | {"model": "model.keras"}

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params, method, fraction = snakemake.params, snakemake.wildcards.method, snakemake.wildcards.fraction
    plugin = plugins.load("methods", method)
    fresh, own = plugin.FRESH_PER_SEED, hasattr(plugin, "own_encoder")
    inputs = [snakemake.input.index, snakemake.input.fraction, *([] if fresh else [snakemake.input.encoder])]
    settings = {k: params[k] for k in ("label", "arm", "seeds", "encoder", "views", "seed", "code")}
    named = {"kind": "finetune", "method": method, "fraction": fraction, "versions": framework_versions()}
    run = open_run(params.runs, named | settings | {"data": [sha256_of(path) for path in inputs]})
    if run.finished():
        print(f"run {run.fingerprint} is finished: reused")
    else:
        limit_threads(snakemake.threads)
        shards = open_shards(manifests_of(snakemake.input.index))
        encoder = plugins.settings("encoders", params.encoder["name"], params.encoder["settings"])
        file = None if fresh else Path(snakemake.input.encoder)
        result = finetune(
            shards,
            float(fraction),
            pd.read_parquet(snakemake.input.fraction),
            Task(params.label["column"], tuple(params.label["classes"]), params.label["kind"]),
            Arm(method, None if own else params.encoder["name"], encoder, file),
            Pipeline(pairs(params.views), tuple(shards.image_spec["shape"])),
            Finetuned(**params.arm),
            params.seeds,
            run.folder,
        )
        for name in ("predictions", "selection", "history"):
            getattr(result, name).to_parquet(run.folder / PUBLISHED[name], index=False)
        run.finish(list(PUBLISHED.values()))
    for name, file in PUBLISHED.items():
        run.publish(file, snakemake.output[name])
    stamp(snakemake.output.origin, snakemake.rule, settings, inputs, params.code)

"""Where the finetuned networks look: maps of the same cases for each method, and the pointing game on true masks."""

import json
from pathlib import Path

import pandas as pd

from scanloom.downstream.downstream_task import Task
from scanloom.downstream.explanation import explain, save
from scanloom.labelling.masks import masks_of_series
from scanloom.provenance import stamp
from scanloom.shards.records import open_shards
from scanloom.shards.shard_index import manifests_of
from scanloom.step_log import log_to
from scanloom.training.backend import limit_threads, make_deterministic

if __name__ == "__main__":
    log_to(snakemake.log[0])
    limit_threads(snakemake.threads)
    make_deterministic()
    from scanloom.lazy import keras

    params, given = snakemake.params, snakemake.input
    shards = open_shards(manifests_of(given.index))
    first_seed = [pd.read_parquet(path).query("seed == @params.first_seed") for path in given.predictions]
    models = [keras.models.load_model(path, compile=False) for path in given.models]
    masks = pd.read_parquet(given.masks)
    tested = set(shards.table.series_id[shards.table.split == "test"])
    masks = masks_of_series(
        masks[masks.series_id.isin(tested)] if len(masks) else pd.DataFrame(columns=["series_id", "mask_path"]),
        pd.concat([pd.read_parquet(path) for path in given.chunks], ignore_index=True),
        pd.read_parquet(given.catalogue),
        Path(json.loads(Path(given.root).read_text())["root"]),
        params.steps,
        params.rank,
        params.reader,
    )
    explained = explain(
        shards.images,
        shards.table,
        dict(zip(params.methods, first_seed, strict=True)),
        dict(zip(params.methods, models, strict=True)),
        Task(params.label["column"], tuple(params.label["classes"]), params.label["kind"]),
        masks,
        params.explanation["method"],
        params.explanation["cases_per_group"],
        params.explanation["tolerance_px"],
        params.seed,
    )
    save(explained, Path(snakemake.output.cases).parent)
    settings = {"explanation": params.explanation, "methods": params.methods, "first_seed": params.first_seed}
    stamp(snakemake.output.origin, snakemake.rule, settings, [*given.predictions, given.index], params.code)

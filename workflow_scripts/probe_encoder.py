"""The frozen arm: cached embeddings and a linear probe at every fraction and seed, in one job."""

from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.downstream.arms import Frozen
from scanloom.downstream.downstream_task import Task
from scanloom.downstream.embeddings import embed
from scanloom.downstream.probing import probe
from scanloom.images.preprocessing import write_npz
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

    params, method = snakemake.params, snakemake.wildcards.method
    shards = open_shards(manifests_of(snakemake.input.index))
    fresh = plugins.load("methods", method).FRESH_PER_SEED
    encoder_settings = plugins.settings("encoders", params.encoder["name"], params.encoder["settings"])
    embeddings = {}

    def features_of(seed: int) -> np.ndarray:
        key = str(seed) if fresh else "all"
        if key not in embeddings:
            build = plugins.load("encoders", params.encoder["name"]).build
            shape = tuple(shards.image_spec["shape"])
            encoder = (
                build(encoder_settings, shape, seed) if fresh else keras.models.load_model(snakemake.input.encoder)
            )
            embeddings[key] = embed(encoder, shards.images, len(shards))
        return embeddings[key]

    fractions = {float(Path(p).name.removesuffix(".parquet")): pd.read_parquet(p) for p in snakemake.input.fractions}
    task = Task(params.label["column"], tuple(params.label["classes"]), params.label["kind"])
    predictions, selection = probe(
        features_of, shards.table, fractions, task, method, Frozen(**params.arm), params.seeds
    )
    predictions.to_parquet(snakemake.output.predictions, index=False)
    selection.to_parquet(snakemake.output.selection, index=False)
    write_npz(snakemake.output.embeddings, {"item_id": shards.table.item_id.to_numpy("U"), **embeddings})
    settings = {key: params[key] for key in ("label", "arm", "seeds", "encoder")}
    inputs = [snakemake.input.encoder, snakemake.input.index, *snakemake.input.fractions]
    stamp(snakemake.output.origin, snakemake.rule, settings, inputs, params.code)

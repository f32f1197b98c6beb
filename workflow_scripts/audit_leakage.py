"""Images that stand twice in a dataset, exactly or nearly, within and across splits."""

import numpy as np

from scanloom.leakage import audit
from scanloom.provenance import stamp
from scanloom.records import open_shards
from scanloom.shard_index import manifests_of
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    shards = open_shards(manifests_of(snakemake.input.index))
    pairs = audit(shards.images(np.arange(len(shards))), shards.table)
    pairs.to_parquet(snakemake.output.leakage, index=False)
    across = pairs[pairs.split_a != pairs.split_b]
    print(f"{len(shards)} images: {len(pairs)} pairs of copies, {len(across)} of them across splits")
    stamp(snakemake.output.origin, snakemake.rule, {}, [snakemake.input.index], snakemake.params.code)

"""One file that stands for all shards of a dataset: checked once here, it changes exactly when a shard does."""

from scanloom.shards.shard_index import write_index
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    index = write_index(snakemake.input.manifests, snakemake.output.index)
    print(f"{index['records']} records in {len(index['manifests'])} chunks")

"""What every image of a dataset looks like in a few hundred numbers, for the search for copies."""

from scanloom.copies.fingerprints import describe, write_fingerprints
from scanloom.shards.records import open_shards
from scanloom.shards.shard_index import manifests_of
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    shards = open_shards(manifests_of(snakemake.input.index))
    described = describe(shards.images, len(shards))
    write_fingerprints(snakemake.output.fingerprints, described, shards.table)
    print(f"{len(shards)} images, {int((~described['has_content']).sum())} of them without content")

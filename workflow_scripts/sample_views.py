"""Views of a few training images as pretraining will see them, for the report."""

from scanloom.images.preprocessing import write_npz
from scanloom.pretraining.view_sheet import view_sheet
from scanloom.provenance import stamp
from scanloom.shards.records import open_shards
from scanloom.shards.shard_index import manifests_of
from scanloom.step_log import log_to
from scanloom.training.backend import limit_threads

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    limit_threads(snakemake.threads)
    shards = open_shards(manifests_of(snakemake.input.index), ["train"])
    sheet = view_sheet(shards, params.views, params.cases, params.seed)
    write_npz(snakemake.output.sheet, sheet)
    print(f"{len(sheet['item_id'])} images, {sheet['views'].shape[1]} views of each")
    shown = {"views": params.views, "cases": params.cases, "seed": params.seed}
    stamp(snakemake.output.origin, snakemake.rule, shown, [snakemake.input.index], params.code)

"""Seconds and memory of an update for every cell of a resource check; cells of earlier runs are not measured again."""

from scanloom.provenance import framework_versions, stamp
from scanloom.searches.resource_check import check, remembered
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params, threads = snakemake.params, snakemake.threads
    known = {"store": params.runs, "versions": framework_versions(), "code": params.code}
    table = check(params.cells, lambda cell: remembered(cell, **params.limits, threads=threads, **known))
    table.to_parquet(snakemake.output.resources, index=False)
    settings = {"cells": params.cells, "limits": params.limits}
    stamp(snakemake.output.origin, snakemake.rule, settings, list(snakemake.input), params.code)

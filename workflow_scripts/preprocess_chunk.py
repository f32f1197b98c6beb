"""Run the configured steps over one chunk of series: physical values to integer images of one shape."""

import json
from pathlib import Path

import pandas as pd

from scanloom import plugins
from scanloom.images.chunk_images import write_parts
from scanloom.images.preprocessing import chunk_parts
from scanloom.step_log import log_to
from scanloom.training.freed_memory import keep_freed_memory

if __name__ == "__main__":
    log_to(snakemake.log[0])
    keep_freed_memory()
    params = snakemake.params
    root = Path(json.loads(Path(snakemake.input.root).read_text())["root"])
    name = params.reader["name"]
    reader, settings = plugins.load("readers", name), plugins.settings("readers", name, params.reader["settings"])
    rows = pd.read_parquet(snakemake.input.chunk)
    blocks = getattr(reader, "read_blocks", None)
    parts = chunk_parts(
        lambda series: reader.read_series(root, series, settings),
        rows,
        params.steps,
        params.rank,
        params.dtype,
        blocks and (lambda series, *choices: blocks(root, series, settings, *choices)),
    )
    shape = write_parts(snakemake.output.images, snakemake.output.about, parts, params.steps, params.rank, params.dtype)
    print(f"{rows.series_id.nunique()} series, {shape[0]} images of {shape[1:]}")

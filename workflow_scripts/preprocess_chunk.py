"""Run the configured steps over one chunk of series: physical values to integer images of one shape."""

import json
from pathlib import Path

import pandas as pd

from scanloom import plugins
from scanloom.preprocessing import preprocess_chunk, write_npz
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    root = Path(json.loads(Path(snakemake.input.root).read_text())["root"])
    name = params.reader["name"]
    reader, settings = plugins.load("readers", name), plugins.settings("readers", name, params.reader["settings"])
    rows = pd.read_parquet(snakemake.input.chunk)
    arrays = preprocess_chunk(
        lambda series: reader.read_series(root, series, settings), rows, params.steps, params.rank, params.dtype
    )
    write_npz(snakemake.output.images, arrays)
    print(f"{rows.series_id.nunique()} series, {len(arrays['images'])} images of {arrays['images'].shape[1:]}")

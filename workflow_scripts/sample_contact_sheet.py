"""A few slices of many cases before and after preprocessing, for the report."""

import json
from pathlib import Path

import pandas as pd

from scanloom import plugins
from scanloom.images.contact_sheet import contact_sheet
from scanloom.images.preprocessing import write_npz
from scanloom.provenance import stamp
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    root = Path(json.loads(Path(snakemake.input.root).read_text())["root"])
    name = params.reader["name"]
    reader, settings = plugins.load("readers", name), plugins.settings("readers", name, params.reader["settings"])
    label, about = next(iter(params.labels["columns"].items()), (None, {"classes": []}))
    sheet = contact_sheet(
        lambda series: reader.read_series(root, series, settings),
        pd.concat([pd.read_parquet(path) for path in snakemake.input.chunks], ignore_index=True),
        pd.concat([pd.read_parquet(path) for path in snakemake.input.images], ignore_index=True),
        params.steps,
        params.rank,
        params.dtype,
        label,
        about["classes"],
        params.cases,
        params.seed,
    )
    write_npz(snakemake.output.sheet, sheet)
    print(f"{len(sheet['item_id'])} cases")
    shown = {"steps": params.steps, "rank": params.rank, "dtype": params.dtype, "cases": params.cases}
    stamp(snakemake.output.origin, snakemake.rule, shown, snakemake.input.images, params.code)

"""One row per series or excluded file with the verdict, the balanced books, and each chunk's list of images."""

import json
from pathlib import Path

import pandas as pd

from scanloom import plugins
from scanloom.catalogue import build_catalogue, declared_files, unexpected_counts
from scanloom.identity import study_salt
from scanloom.labels import read_label_table
from scanloom.provenance import stamp
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params, output = snakemake.params, snakemake.output
    root = Path(json.loads(Path(snakemake.input.root).read_text())["root"])
    table = params.labels["table"]
    labels = read_label_table(root / table) if table else None
    mask_column = params.masks["table_column"] if params.masks else None
    catalogue = build_catalogue(
        params.reader["name"],
        plugins.settings("readers", params.reader["name"], params.reader["settings"]),
        root,
        dataset=snakemake.wildcards.dataset,
        salt=study_salt(params.salt, Path(output.files).parents[1]),
        chunks=len(output.chunks),
        modality=params.modality,
        group=params.group,
        site=params.site,
        labels=labels,
        join=params.labels["join"],
        key=params.labels["key"],
        declared=declared_files(root, table, labels, mask_column),
        workers=snakemake.threads,
    )
    catalogue.catalogue.to_parquet(output.catalogue, index=False)
    catalogue.files.to_parquet(output.files, index=False)
    labels = catalogue.labels if catalogue.labels is not None else pd.DataFrame()
    labels.to_parquet(output.labels, index=False)
    for chunk, path in enumerate(output.chunks):
        catalogue.chunk_rows[chunk].to_parquet(path, index=False)
    Path(output.books).write_text(json.dumps(catalogue.books, indent=1) + "\n")
    print(json.dumps(catalogue.books, indent=1))
    for difference in unexpected_counts(catalogue.catalogue, params.expected):
        print(f"warning: {difference}")
    settings = {"reader": params.reader, "modality": params.modality, "group": params.group}
    stamp(output.origin, snakemake.rule, settings, [output.files], params.code)

"""One row per series or excluded file with the verdict, the balanced books, and each chunk's list of images."""

import json
from functools import partial
from pathlib import Path

import pandas as pd

from scanloom import plugins
from scanloom.cataloguing.catalogue import build_catalogue, declared_files, unexpected_counts
from scanloom.files.file_search import find_files
from scanloom.identity import study_salt
from scanloom.labelling.label_tables import label_files, mask_column, read_labels
from scanloom.provenance import stamp
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params, output = snakemake.params, snakemake.output
    private = Path(output.files).parent
    root = Path(json.loads(Path(snakemake.input.root).read_text())["root"])
    # Labels that stand in paths wait for the members of archives; masks lie beside the images, never in archives.
    in_paths = params.labels["table"] is None and "path" in params.labels["extract"]
    labels_of = partial(read_labels, root, params.labels, masks=params.masks)
    table = labels_of(find_files(root)) if params.masks or not in_paths else None
    catalogue = build_catalogue(
        params.reader["name"],
        plugins.settings("readers", params.reader["name"], params.reader["settings"]),
        root,
        dataset=snakemake.wildcards.dataset,
        salt=study_salt(params.salt, private.parent),
        chunks=len(output.chunks),
        modality=params.modality,
        where=params.where,
        exclude=params.exclude,
        group=params.group,
        site=params.site,
        labels=labels_of if in_paths else table,
        join=params.labels["join"],
        key=params.labels["key"],
        normalise=params.labels["normalise"],
        declared=declared_files(label_files(root, params.labels), table, mask_column(params.masks)),
        workers=snakemake.threads,
        unpack_to=private / "unpacked",
    )
    catalogue.catalogue.to_parquet(output.catalogue, index=False)
    catalogue.files.to_parquet(output.files, index=False)
    catalogue.series.to_parquet(output.series, index=False)
    no_labels = pd.DataFrame({params.labels["key"] or params.labels["join"]: []}, dtype="str")
    labels = catalogue.labels if catalogue.labels is not None else no_labels
    labels.to_parquet(output.labels, index=False)
    for chunk, path in enumerate(output.chunks):
        catalogue.chunk_rows[chunk].to_parquet(path, index=False)
    Path(output.books).write_text(json.dumps(catalogue.books, indent=1) + "\n")
    print(json.dumps(catalogue.books, indent=1))
    for difference in unexpected_counts(catalogue.catalogue, params.expected):
        print(f"warning: {difference}")
    settings = {key: getattr(params, key) for key in ("reader", "modality", "where", "exclude", "group")}
    stamp(output.origin, snakemake.rule, settings, [output.files], params.code)

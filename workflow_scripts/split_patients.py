"""Every image's labels and split: patients are drawn into train, validation and test once, from the study's seed."""

from pathlib import Path

import pandas as pd

from scanloom.labels import image_table, mask_table
from scanloom.provenance import stamp
from scanloom.splits import assert_all_classes, assert_disjoint, patient_strata, split_patients
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    rows = pd.concat([pd.read_parquet(path) for path in snakemake.input.chunks], ignore_index=True)
    chunk_of = {Path(path).stem: set(pd.read_parquet(path).series_id) for path in snakemake.input.chunks}
    labels, columns = pd.read_parquet(snakemake.input.labels), params.labels["columns"]
    join, key = params.labels["join"], params.labels["key"]
    mask_column = params.masks["table_column"] if params.masks else None
    images = image_table(
        rows,
        pd.read_parquet(snakemake.input.catalogue),
        labels if len(labels) else None,
        columns,
        join,
        key,
        mask_column=mask_column,
        official_column=params.official_split,
    )
    official = ["official_split"] if params.official_split else []
    splits = split_patients(
        patient_strata(images, [*params.stratify, *official]),
        params.seed,
        **params.shares,
        official=official[0] if official else None,
    )
    images["split"] = images.patient_id.map(splits.set_index("patient_id")["split"])
    images = images.drop(columns=official)
    where = f"splits of {snakemake.wildcards.dataset}"
    assert_disjoint(images, where)
    for column in params.task_labels:
        assert_all_classes(images, column, columns[column]["classes"], where)
    splits.to_parquet(snakemake.output.splits, index=False)
    for path in snakemake.output.images:
        images[images.series_id.isin(chunk_of[Path(path).stem])].to_parquet(path, index=False)
    masks = mask_table(rows, labels, join, key, mask_column) if mask_column else pd.DataFrame()
    masks.to_parquet(snakemake.output.masks, index=False)
    print(splits.groupby(["stratum", "split"]).size().unstack(fill_value=0).to_string())
    settings = {"shares": params.shares, "seed": params.seed, "stratify": params.stratify}
    stamp(
        snakemake.output.origin,
        snakemake.rule,
        settings,
        [snakemake.input.catalogue, snakemake.input.labels],
        params.code,
    )

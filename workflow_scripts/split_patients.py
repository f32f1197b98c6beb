"""Every image's labels and split: patients are assigned to train, validation and test once, from the study's seed."""

from pathlib import Path

import pandas as pd

from scanloom.labelling.label_classes import reader_agreement
from scanloom.labelling.label_tables import mask_column
from scanloom.labelling.labels import image_table, mask_table
from scanloom.provenance import stamp
from scanloom.splitting.splits import assert_all_classes, assert_disjoint, split_images
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    rows = pd.concat([pd.read_parquet(path) for path in snakemake.input.chunks], ignore_index=True)
    chunk_of = {Path(path).stem: set(pd.read_parquet(path).series_id) for path in snakemake.input.chunks}
    labels, columns = pd.read_parquet(snakemake.input.labels), params.labels["columns"]
    join, key, normalise = (params.labels[name] for name in ("join", "key", "normalise"))
    mask = mask_column(params.masks)
    images = image_table(
        rows,
        pd.read_parquet(snakemake.input.catalogue),
        labels if len(labels) else None,
        columns,
        join,
        key,
        normalise=normalise,
        mask_column=mask,
        official_column=params.official_split,
    )
    where = f"splits of {snakemake.wildcards.dataset}"
    splits = split_images(
        images,
        params.stratify,
        params.seed,
        **params.shares,
        official="official_split" if params.official_split else None,
        external_site=params.external_test_site,
        where=where,
    )
    images["split"] = images.patient_id.map(splits.set_index("patient_id")["split"])
    images = images.drop(columns="official_split", errors="ignore")
    assert_disjoint(images, where)
    for column in params.task_labels:
        assert_all_classes(images, column, columns[column]["classes"], where)
    splits.to_parquet(snakemake.output.splits, index=False)
    for path in snakemake.output.images:
        images[images.series_id.isin(chunk_of[Path(path).stem])].to_parquet(path, index=False)
    masks = mask_table(rows, labels, join, key, mask, normalise) if mask else pd.DataFrame()
    masks.to_parquet(snakemake.output.masks, index=False)
    reader_agreement(labels, columns, params.seed).to_parquet(snakemake.output.agreement, index=False)
    print(splits.groupby(["stratum", "split"]).size().unstack(fill_value=0).to_string())
    settings = {"shares": params.shares, "seed": params.seed, "stratify": params.stratify}
    settings |= {"external_test_site": params.external_test_site}
    used = [snakemake.input.catalogue, snakemake.input.labels]
    stamp(snakemake.output.origin, snakemake.rule, settings, used, params.code)
    stamp(snakemake.output.agreement_origin, snakemake.rule, {"labels": columns}, used[1:], params.code)

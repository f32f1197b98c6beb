"""Patients whose images may be pretrained on: all of the corpus's datasets, minus every task's validation and test."""

from pathlib import Path

import pandas as pd

from scanloom.provenance import stamp
from scanloom.splitting.corpus import corpus_patients
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    splits = {Path(path).parent.name: pd.read_parquet(path) for path in snakemake.input.splits}
    patients = corpus_patients(splits, params.datasets, params.task_datasets)
    patients.to_parquet(snakemake.output.patients, index=False)
    print(f"{len(patients)} patients of {', '.join(params.datasets)}")
    stamp(
        snakemake.output.origin,
        snakemake.rule,
        {"datasets": params.datasets, "task_datasets": params.task_datasets},
        snakemake.input.splits,
        params.code,
    )

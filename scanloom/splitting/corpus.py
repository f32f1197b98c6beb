"""What may be pretrained on."""

import pandas as pd

from scanloom.splitting.splits import assert_disjoint


def corpus_patients(splits: dict[str, pd.DataFrame], datasets: list[str], task_datasets: list[str]) -> pd.DataFrame:
    """Patients of the corpus: dataset, patient_id; sorted.

    splits: dataset -> table of patient_id and split. A dataset that serves a task gives only its training patients; one
    that serves none gives all, since nothing is ever measured on it. Raises ValueError where a patient is in two splits
    or nobody is left.
    """
    allowed = []
    for name in datasets:
        assert_disjoint(splits[name], f"splits of {name}")
        table = splits[name]
        table = table[table["split"] == "train"] if name in task_datasets else table
        allowed.append(pd.DataFrame({"dataset": name, "patient_id": sorted(table["patient_id"])}))
    patients = pd.concat(allowed, ignore_index=True)
    if patients.empty:
        raise ValueError(f"no patient is left to pretrain on in {', '.join(datasets)}: every one validates or tests")
    return patients

"""A corpus never holds a task's validation or test patients (DESIGN, promise 4)."""

import pandas as pd
import pytest

from scanloom.splitting.corpus import corpus_patients
from scanloom.splitting.splits import PatientInTwoSplits


def table(**patients):
    return pd.DataFrame({"patient_id": list(patients), "split": list(patients.values())})


SPLITS = {
    "heads": table(a="train", b="validation", c="test", d="train"),
    "chests": table(e="train", f="test"),
}


def test_dataset_with_a_task_gives_its_training_patients_only():
    assert corpus_patients(SPLITS, ["heads"], ["heads"]).patient_id.tolist() == ["a", "d"]


def test_dataset_without_a_task_gives_everybody():
    patients = corpus_patients(SPLITS, ["heads", "chests"], ["heads"])
    assert patients.patient_id.tolist() == ["a", "d", "e", "f"]
    assert patients.dataset.tolist() == ["heads", "heads", "chests", "chests"]


def test_torn_patient_is_refused():
    torn = {"heads": pd.concat([SPLITS["heads"], table(a="test")])}
    with pytest.raises(PatientInTwoSplits):
        corpus_patients(torn, ["heads"], ["heads"])


def test_empty_corpus_is_refused():
    with pytest.raises(ValueError, match="no patient is left"):
        corpus_patients({"heads": table(b="validation", c="test")}, ["heads"], ["heads"])

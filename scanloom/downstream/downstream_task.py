"""What every downstream arm shares: the task, which images it may use, how a candidate is scored, its tables."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom.metrics import auroc

KINDS = ("binary", "multiclass")


@dataclass(frozen=True)
class Task:
    """A label column of the shards and what its values 0..K-1 are called."""

    label: str
    classes: tuple[str, ...]
    kind: str

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"kind '{self.kind}' of label '{self.label}' is not one of {', '.join(KINDS)}")
        if self.kind == "binary" and len(self.classes) != 2:
            raise ValueError(f"binary label '{self.label}' has {len(self.classes)} classes: {', '.join(self.classes)}")
        if len(self.classes) < 2:
            raise ValueError(f"label '{self.label}' has fewer than 2 classes")


@dataclass(frozen=True)
class Arm:
    """An encoder and the method that made it. Without a file the encoder is built from each seed (from_scratch).

    encoder: the name of its file in scanloom/encoders; None: the method brought its own network, which its file holds.
    """

    method: str
    encoder: str | None
    encoder_settings: object
    encoder_file: Path | None = None


@dataclass(frozen=True)
class LabelledRows:
    """Row numbers (into the shards' table) an arm trains on, selects on and reports on; all have the label."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def labelled_rows(table: pd.DataFrame, task: Task, patients) -> LabelledRows:
    """Rows of the labelled training images of `patients`, and of all labelled validation and test images.

    table: the shards' table. Raises ValueError when a patient lies in two splits, when one of `patients` is not a
    training patient, when a label is not a class index, or when a class has no training image.
    """
    if task.label not in table:
        raise ValueError(f"the shards have no label '{task.label}'")
    splits_of = table.groupby("patient_id")["split"].nunique()
    if (splits_of > 1).any():
        raise ValueError(f"patient {splits_of.idxmax()} is in more than one split")
    train_patients = set(table.loc[table["split"] == "train", "patient_id"])
    strangers = sorted(set(patients) - train_patients)
    if strangers:
        raise ValueError(f"{len(strangers)} labelled patients are not training patients, first: {strangers[0]}")

    labels = table[task.label].to_numpy(float)
    known = ~np.isnan(labels)
    bad = known & ~np.isin(labels, np.arange(len(task.classes)))
    if bad.any():
        raise ValueError(
            f"label '{task.label}' has the value {labels[bad][0]:g}; classes are 0..{len(task.classes) - 1}"
        )
    split = table["split"].to_numpy(str)
    chosen = table["patient_id"].isin(set(patients)).to_numpy()
    rows = LabelledRows(
        train=np.flatnonzero(known & chosen & (split == "train")),
        validation=np.flatnonzero(known & (split == "validation")),
        test=np.flatnonzero(known & (split == "test")),
    )
    for name, indices in vars(rows).items():
        if name != "test":
            _assert_classes(labels[indices], task, name)
    return rows


def labels_at(table: pd.DataFrame, task: Task, rows: np.ndarray) -> np.ndarray:
    """Class index int64 of each row."""
    return table[task.label].to_numpy(float)[rows].astype(np.int64)


def patients_of(fraction_table: pd.DataFrame, seed: int) -> list[str]:
    """Labelled training patients of one repetition. Raises ValueError when the fraction has none for that seed."""
    patients = fraction_table.loc[fraction_table["seed"] == seed, "patient_id"].tolist()
    if not patients:
        raise ValueError(f"the fraction's table has no patient for seed {seed}")
    return patients


def selection_score(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """AUROC (macro one-vs-rest for more than two classes): uses ranks only, so no threshold enters a selection.

    labels: int [n], every class among them (`labelled_rows` asserts it); probabilities: float [n, classes].
    """
    return float(auroc.compute(labels, probabilities, np.ones((1, len(labels))))[0])


def selection_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean cross-entropy: settles which of two equal scores is better (small validation sets make many ties)."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(float).tiny)).mean())


def preferred(fits: list[dict]) -> int:
    """Number of the fit with the highest validation_score; among equals the lowest validation_loss, then the first."""
    return max(range(len(fits)), key=lambda index: (fits[index]["validation_score"], -fits[index]["validation_loss"]))


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weight float32 of each image, n / (classes * images of its class): every class counts the same, mean weight 1."""
    counts = np.bincount(labels, minlength=classes)
    return (len(labels) / (classes * counts[labels])).astype(np.float32)


def predictions_table(
    table: pd.DataFrame, task: Task, rows: np.ndarray, probabilities: np.ndarray, run: dict
) -> pd.DataFrame:
    """One row per image: what was run (method, schedule, fraction, seed), who it is, its label, and p0..p{K-1}."""
    part = table.iloc[rows]
    result = pd.DataFrame(
        {
            **run,
            "split": part["split"].to_numpy(),
            "item_id": part["item_id"].to_numpy(),
            "series_id": part["series_id"].to_numpy(),
            "patient_id": part["patient_id"].to_numpy(),
            "label": labels_at(table, task, rows),
        }
    )
    return result.assign(**{f"p{index}": probabilities[:, index] for index in range(probabilities.shape[1])})


def _assert_classes(labels: np.ndarray, task: Task, split: str) -> None:
    absent = [name for index, name in enumerate(task.classes) if not (labels == index).any()]
    if absent:
        raise ValueError(f"label '{task.label}': no {split} image of class {', '.join(absent)}")

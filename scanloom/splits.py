"""Who is in train, validation and test: by patient, stratified, from one seed, whatever the order of the files.

Every table and shard that carries a split is checked with `assert_disjoint` by whoever reads it.
"""

import hashlib

import numpy as np
import pandas as pd

SPLITS = ("train", "validation", "test")
# In this order a stratum of fewer than three patients fills its splits: nothing is learnt without training patients,
# and a class without test patients cannot be reported.
FIRST_SERVED = ("train", "test", "validation")
OFFICIAL_NAMES = {"train": "train", "training": "train", "validation": "validation", "val": "validation"}
OFFICIAL_NAMES |= {"valid": "validation", "dev": "validation", "test": "test", "testing": "test"}


class PatientInTwoSplits(ValueError):
    """A patient's images would be learnt from and tested on."""


class EmptyClass(ValueError):
    """A class without patients where some are needed."""


def patient_rank(seed: int, purpose: str, patient_id: pd.Series) -> np.ndarray:
    """uint64 [n]: a number per patient, as if drawn, that depends on seed, purpose and patient alone."""
    prefix = f"{seed}|{purpose}|"
    digests = b"".join(hashlib.sha256((prefix + patient).encode()).digest()[:8] for patient in patient_id)
    return np.frombuffer(digests, "<u8")


def patient_strata(images: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """One row per patient: patient_id and one column per stratum column; a patient takes its images' largest value.

    So a patient with any positive image is positive. A patient without any value stands in a stratum of its own (NaN).
    """
    if "patient_id" not in images or set(columns) - set(images):
        raise ValueError(f"no column {sorted({'patient_id', *columns} - set(images))} among {sorted(images)}")
    patients = images.groupby("patient_id", sort=True)[list(columns)].max() if columns else None
    if patients is None:
        return pd.DataFrame({"patient_id": sorted(images["patient_id"].unique())})
    return patients.reset_index()


def stratum_names(patients: pd.DataFrame) -> pd.Series:
    """`bleed=1, site=A` per row: every column except patient_id; 'all' where there is none."""
    parts = [
        f"{column}=" + patients[column].map(lambda value: f"{value:g}" if isinstance(value, float) else f"{value}")
        for column in patients.columns
        if column != "patient_id"
    ]
    if not parts:
        return pd.Series("all", index=patients.index, dtype="str")
    return parts[0].str.cat(parts[1:], sep=", ") if len(parts) > 1 else parts[0]


def shares(n: int, validation: float, test: float) -> dict[str, int]:
    """How many of n patients each split gets: largest remainder, and from three patients on at least one each."""
    exact = np.array([1 - validation - test, validation, test]) * n
    counts = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: n - counts.sum()]] += 1
    if n < len(SPLITS):
        return {split: int(split in FIRST_SERVED[:n]) for split in SPLITS}
    while (counts == 0).any():
        counts[counts.argmax()] -= 1
        counts[np.flatnonzero(counts == 0)[0]] += 1
    return dict(zip(SPLITS, counts.tolist(), strict=True))


def split_patients(
    patients: pd.DataFrame, seed: int, validation: float, test: float, official: str | None = None
) -> pd.DataFrame:
    """patient_id, split, stratum, sorted by patient.

    patients: one row per patient; every column other than patient_id (and `official`) makes the stratum. Within a
    stratum patients are ordered by a hash of seed and id and the shares are taken off the front, so file order and
    other strata do not matter. official: column with published splits (train, validation or test, also val, ...); where
    those have no validation patients, they are drawn from the training patients.
    """
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise ValueError(f"shares validation {validation} and test {test} must be positive and leave some for training")
    if not len(patients):
        raise ValueError("no patients to split: the catalogue has no used series")
    if patients["patient_id"].duplicated().any():
        raise ValueError(f"patient {patients['patient_id'][patients['patient_id'].duplicated()].iloc[0]} has two rows")
    table = patients[["patient_id"]].copy()
    table["stratum"] = stratum_names(patients.drop(columns=[official] if official else []))
    table["split"] = _official(patients, official) if official else "train"
    if not official:
        _draw(table, seed, validation, test)
    elif not (table["split"] == "validation").any():
        training = table[table["split"] == "train"].copy()
        share = validation / (1 - test)
        _draw(training, seed, share, 0.0)
        table.loc[training.index, "split"] = training["split"]
    return table[["patient_id", "split", "stratum"]].sort_values("patient_id", ignore_index=True).astype("str")


def _draw(table: pd.DataFrame, seed: int, validation: float, test: float) -> None:
    """Fill the column `split` of `table` stratum by stratum."""
    rank = patient_rank(seed, "split", table["patient_id"])
    order = table.assign(rank=rank).sort_values(["stratum", "rank", "patient_id"])
    for _, members in order.groupby("stratum", sort=True):
        n = len(members)
        if test > 0:
            counts = shares(n, validation, test)
        else:
            taken = min(max(1, round(validation * n)), n - 1)
            counts = {"train": n - taken, "validation": taken, "test": 0}
        table.loc[members.index, "split"] = np.repeat(SPLITS, [counts[split] for split in SPLITS])


def _official(patients: pd.DataFrame, column: str) -> pd.Series:
    if column not in patients:
        raise ValueError(f"no column '{column}' with official splits among {sorted(patients)}")
    said = patients[column].astype("str").str.strip().str.lower()
    split = said.map(OFFICIAL_NAMES)
    if split.isna().any():
        odd = sorted(set(said[split.isna()]))[:5]
        raise ValueError(
            f"column '{column}' holds {odd}; an official split is train, validation or test for every patient"
        )
    for needed in ("train", "test"):
        if not (split == needed).any():
            raise ValueError(f"column '{column}' has no {needed} patients; drop official_split to draw splits here")
    return split


def assert_disjoint(table: pd.DataFrame, where: str) -> None:
    """Raise PatientInTwoSplits if a patient of the table (patient_id, split) is in two splits; `where` names it."""
    odd = set(table["split"].unique()) - set(SPLITS)
    if odd:
        raise ValueError(f"{where}: split {sorted(map(str, odd))}; splits are {', '.join(SPLITS)}")
    pairs = table[["patient_id", "split"]].drop_duplicates()
    double = pairs[pairs["patient_id"].duplicated(keep=False)]
    if len(double):
        patient, count = double["patient_id"].min(), double["patient_id"].nunique()
        splits = sorted(double.loc[double["patient_id"] == patient, "split"], key=SPLITS.index)
        raise PatientInTwoSplits(
            f"{where}: patient {patient} is in {' and '.join(splits)} ({count} such patients). "
            "A patient belongs to one split. Remake the splits; if they are official ones, correct the label table"
        )


def assert_all_classes(images: pd.DataFrame, label: str, classes: list[str], where: str) -> None:
    """Raise EmptyClass unless every class of `label` has a patient in every split of the table."""
    held = images.dropna(subset=label).groupby(["split", label])["patient_id"].nunique()
    for index, name in enumerate(classes):
        for split in SPLITS:
            if held.get((split, float(index)), 0) == 0:
                patients = images.loc[images[label] == index, "patient_id"].nunique()
                raise EmptyClass(
                    f"{where}: class '{name}' of '{label}' has no patient in {split} ({patients} patients in all, "
                    "3 needed); add patients, merge classes, or stratify by this label"
                )


def assert_predictions_match(predictions: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Raise ValueError unless every predicted patient is in the split table, in the split the prediction says."""
    pairs = predictions[["patient_id", "split"]].drop_duplicates()
    said = pairs["patient_id"].map(splits.set_index("patient_id")["split"])
    wrong = pairs[said != pairs["split"]]
    if len(wrong):
        patient, split = wrong.iloc[0]
        raise PatientInTwoSplits(
            f"predictions: patient {patient} is predicted in {split}, the split table says "
            f"{said[wrong.index[0]]} ({len(wrong)} such patients). Predictions belong to other splits: make them again"
        )

"""Which training patients count as labelled at a fraction: nested, stratified lists of patients, one per seed.

Validation and test never change with the fraction, and every patient of a smaller fraction is in each larger one of the
same seed, so a label-efficiency curve compares more labels with fewer, not with others. Counts are exact, because they
are the curve's axis; a patient who comes or goes therefore changes the place of at most one other per stratum.
"""

import math

import numpy as np
import pandas as pd

from scanloom.splitting.splits import EmptyClass, assert_disjoint, patient_rank


class ImpossibleFraction(ValueError):
    """A share of labelled patients that cannot be drawn."""


def labelled_patients(images: pd.DataFrame, label: str, classes: list[str], where: str) -> pd.DataFrame:
    """Training patients that have a label: patient_id, stratum (the largest class index among the patient's images).

    images: image table with patient_id, split and the label column. Raises EmptyClass if no training patient has an
    image of some class, and splits.PatientInTwoSplits.
    """
    if label not in images:
        raise ValueError(f"{where}: no label column '{label}'; columns: {', '.join(images.columns)}")
    assert_disjoint(images, where)
    labelled = images[(images["split"] == "train") & images[label].notna()]
    for index, name in enumerate(classes):
        if not (labelled[label] == index).any():
            raise EmptyClass(f"{where}: class '{name}' of '{label}' has no training patient; nothing could learn it")
    patients = labelled.groupby("patient_id", sort=True)[label].max().astype(int)
    return patients.rename("stratum").reset_index()


def draw_fraction(train_patients: pd.DataFrame, fraction: float, seeds: list[int]) -> pd.DataFrame:
    """Labelled training patients: seed, patient_id (sorted).

    train_patients: patient_id, stratum. Within a stratum of n patients, ordered by a hash of seed and id, the first
    max(1, ceil(fraction * n)) are taken; so every stratum is present and fractions of one seed are nested.
    Raises ImpossibleFraction.
    """
    if not 0 < fraction <= 1:
        raise ImpossibleFraction(f"impossible fraction {fraction}: a share of labelled patients lies in (0, 1]")
    if not len(train_patients):
        raise ImpossibleFraction(f"impossible fraction {fraction}: there are no labelled training patients")
    if train_patients["patient_id"].duplicated().any():
        raise ValueError("a training patient is listed twice; give one row per patient")
    sizes = train_patients.groupby("stratum")["patient_id"].transform("size")
    # 0.1 * 30 is 3.0000000000000004 in floating point: without the small number it would be rounded up to 4.
    wanted = np.maximum(1, np.vectorize(lambda n: math.ceil(fraction * n - 1e-9))(sizes.to_numpy()))
    drawn = []
    for seed in seeds:
        ordered = train_patients.assign(
            rank=patient_rank(seed, "fraction", train_patients["patient_id"]), wanted=wanted
        ).sort_values(["stratum", "rank", "patient_id"])
        place = ordered.groupby("stratum").cumcount()
        chosen = ordered.loc[place < ordered["wanted"], "patient_id"].sort_values()
        drawn.append(pd.DataFrame({"seed": seed, "patient_id": chosen.to_numpy()}))
    return pd.concat(drawn, ignore_index=True).astype({"seed": "int64", "patient_id": "str"})

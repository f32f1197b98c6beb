"""Which images are shown with their explanation."""

import numpy as np
import pandas as pd

from scanloom.metrics._weighted import predicted


def choose_cases(predictions: pd.DataFrame, classes: int, per_group: int) -> pd.DataFrame:
    """The most confident right and wrong test images of each class, each of another patient.

    predictions: one row per test image of one arm and seed (item_id, patient_id, label, p0..p{K-1}). Gives item_id,
    patient_id, label, prediction, probability (of the prediction), group ("right", "wrong"), at most `per_group` rows
    per class and group, sorted by class, group and confidence. A patient shown once is not shown again, and equal
    confidence is settled by item_id: the choice does not depend on the order of rows.
    """
    probabilities = predictions[[f"p{index}" for index in range(classes)]].to_numpy()
    prediction = predicted(probabilities)
    cases = predictions[["item_id", "patient_id", "label"]].assign(
        prediction=prediction,
        probability=probabilities[np.arange(len(prediction)), prediction],
        group=np.where(prediction == predictions["label"].to_numpy(), "right", "wrong"),
    )
    cases = cases.sort_values(["probability", "item_id"], ascending=[False, True])
    shown, parts = set(), []
    for _, members in cases.groupby(["label", "group"], sort=True):
        fresh = members[~members["patient_id"].isin(shown)].drop_duplicates("patient_id").head(per_group)
        shown.update(fresh["patient_id"])
        parts.append(fresh)
    return pd.concat(parts, ignore_index=True)

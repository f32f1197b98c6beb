"""The frozen arm: logistic regression on cached features, for every label fraction and repetition in one go.

Only the linear layer learns, so the arm says what the features hold and not what training can do to them.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from scanloom.downstream.arms import Frozen
from scanloom.downstream.downstream_task import (
    Task,
    labelled_rows,
    labels_at,
    patients_of,
    predictions_table,
    preferred,
    selection_loss,
    selection_score,
)

SCHEDULE = "frozen"
MAX_ITERATIONS = 2000  # of L-BFGS; the problem is strictly convex, so this bounds time and is not a tuning parameter


def probe(
    features_of: Callable[[int], np.ndarray],
    table: pd.DataFrame,
    fractions: dict[float, pd.DataFrame],
    task: Task,
    method: str,
    settings: Frozen,
    seeds: list[int],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions on validation and test, and the selection table, of a linear probe at every fraction and seed.

    features_of(seed): float `[n, D]`, one row per row of `table` (the shards' table); the same array for every seed
    where the encoder is pretrained, another one where it is built from the seed. fractions: share -> table of seed and
    patient_id. Features are standardised by the labelled training images alone. The penalty is chosen on validation by
    AUROC from the same candidates for every method; equal scores go to the lower cross-entropy.
    """
    predictions, selection = [], []
    for seed in seeds:
        features = np.asarray(features_of(seed), np.float64)
        if len(features) != len(table) or not np.isfinite(features).all():
            raise ValueError(
                f"{method}: features {features.shape} must be finite, a row for each of {len(table)} images"
            )
        for fraction, fraction_table in fractions.items():
            run = {"method": method, "schedule": SCHEDULE, "fraction": float(fraction), "seed": seed}
            patients = patients_of(fraction_table, seed)
            rows = labelled_rows(table, task, patients)
            fits = _fits(features, table, rows, task, settings)
            best = preferred(fits)
            for split in ("validation", "test"):
                indices = getattr(rows, split)
                predictions.append(predictions_table(table, task, indices, fits[best][split], run))
            selection += [
                {
                    **run,
                    "candidate": f"C={fit['inverse_l2']:g}",
                    "learning_rate": np.nan,
                    "l2": 1 / fit["inverse_l2"],
                    "updates": fit["iterations"],
                    "validation_score": fit["validation_score"],
                    "chosen": index == best,
                    "labelled_patients": table["patient_id"].iloc[rows.train].nunique(),
                    "labelled_images": len(rows.train),
                }
                for index, fit in enumerate(fits)
            ]
    return pd.concat(predictions, ignore_index=True), pd.DataFrame(selection)


def _fits(features: np.ndarray, table: pd.DataFrame, rows, task: Task, settings: Frozen) -> list[dict]:
    """One fit per penalty, strongest penalty first, each starting from the one before."""
    scaler = StandardScaler().fit(features[rows.train])
    train, validation = (scaler.transform(features[r]) for r in (rows.train, rows.validation))
    test = scaler.transform(features[rows.test]) if len(rows.test) else []
    labels, validation_labels = labels_at(table, task, rows.train), labels_at(table, task, rows.validation)
    model = LogisticRegression(class_weight="balanced", max_iter=MAX_ITERATIONS, warm_start=True)
    fits = []
    for inverse_l2 in sorted(settings.l2):
        model.set_params(C=inverse_l2)
        model.fit(train, labels)
        probabilities = model.predict_proba(validation)
        fits.append(
            {
                "inverse_l2": inverse_l2,
                "iterations": int(model.n_iter_.max()),
                "validation_score": selection_score(validation_labels, probabilities),
                "validation_loss": selection_loss(validation_labels, probabilities),
                "validation": probabilities,
                "test": model.predict_proba(test) if len(test) else np.empty((0, len(task.classes))),
            }
        )
    return fits

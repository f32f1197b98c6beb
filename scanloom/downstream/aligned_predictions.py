"""The test predictions of all arms and seeds as one array over the same items, checked.

Arms can only be compared in pairs on identical items and seeds; this is where that is made sure of.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

ARM = ["method", "schedule", "fraction"]
UNITS = {"image": "item_id", "series": "series_id", "patient": "patient_id"}
KINDS = ("binary", "multiclass")


class EvaluationError(ValueError):
    """Predictions that cannot be evaluated: incomplete, contradictory, or without the baseline."""


@dataclass(frozen=True)
class AlignedPredictions:
    """arms: method, schedule, fraction [A]; seeds [S]; labels int [n]; patients int [n], 0..P-1; probabilities
    [A, S, n, K]. The n items are images, series or patients, the same for every arm and seed."""

    arms: pd.DataFrame
    seeds: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    probabilities: np.ndarray


def align(
    predictions: pd.DataFrame, classes: Sequence[str], kind: str, level: str, aggregate: str, split: str = "test"
) -> AlignedPredictions:
    """The rows of one split, one per item of `level`. Raises EvaluationError."""
    if kind not in KINDS or len(classes) < 2 or (kind == "binary" and len(classes) > 2):
        raise EvaluationError(f"kind '{kind}' with {len(classes)} classes: binary takes 2, multiclass 2 or more")
    if level not in UNITS:
        raise EvaluationError(f"level '{level}' must be one of {', '.join(UNITS)}")
    if aggregate not in ("mean", "max"):
        raise EvaluationError(f"aggregate '{aggregate}' must be mean or max")
    columns = [f"p{k}" for k in range(len(classes))]
    _check_table(predictions, columns)
    test = predictions[predictions.split == split]
    if test.empty:
        raise EvaluationError(f"there are no predictions of split '{split}'")
    _check_values(test, columns)
    if level != "image":
        test = _aggregated(test, columns, UNITS[level], aggregate, kind)
    return _grid(test, columns, UNITS[level])


def _check_table(predictions: pd.DataFrame, columns: list[str]) -> None:
    needed = {*ARM, "seed", "split", *UNITS.values(), "label", *columns}
    if missing := sorted(needed - set(predictions.columns)):
        raise EvaluationError(f"predictions lack the columns {', '.join(missing)}")
    if f"p{len(columns)}" in predictions.columns and predictions[f"p{len(columns)}"].notna().any():
        raise EvaluationError(f"predictions have a column p{len(columns)}, but the task has {len(columns)} classes")
    splits = predictions[["patient_id", "split"]].drop_duplicates()
    if len(twice := splits.patient_id[splits.patient_id.duplicated()]):
        raise EvaluationError(f"patient {twice.iloc[0]} has predictions in several splits ({len(twice)} such patients)")


def _check_values(test: pd.DataFrame, columns: list[str]) -> None:
    probabilities = test[columns].to_numpy(float)
    wrong = ~np.isclose(probabilities.sum(axis=1), 1, atol=1e-3) | ((probabilities < 0) | (probabilities > 1)).any(
        axis=1
    )
    if wrong.any():  # NaN included: it is not close to 1
        raise EvaluationError(
            f"item {test.item_id.iloc[wrong.argmax()]}: probabilities {probabilities[wrong.argmax()].tolist()} are not "
            f"between 0 and 1 with sum 1 ({wrong.sum()} such rows)"
        )
    if not test.label.isin(range(len(columns))).all():
        found = sorted(set(test.label) - set(range(len(columns))), key=str)
        raise EvaluationError(f"labels {found[:5]} are not classes 0..{len(columns) - 1}")


def _aggregated(test: pd.DataFrame, columns: list[str], unit: str, aggregate: str, kind: str) -> pd.DataFrame:
    """One row per series or patient. Binary: positive where any image is; multiclass: all images must agree."""
    keys = [*ARM, "seed", unit]
    groups = test.groupby(keys, sort=False)
    if kind == "multiclass" and (groups.label.nunique() > 1).any():
        mixed = int((groups.label.nunique() > 1).sum())
        raise EvaluationError(f"{mixed} of {unit} have images of several classes: evaluate this task by image")
    whole = groups.agg({"label": "max", **dict.fromkeys({"patient_id"} - {unit}, "first")})
    if aggregate == "mean":
        probabilities = groups[columns].mean()
    elif kind == "binary":
        probabilities = groups[["p1"]].max().assign(p0=lambda table: 1 - table.p1)[columns]
    else:
        probabilities = groups[columns].max()
    whole[columns] = probabilities.div(probabilities.sum(axis=1), axis=0)
    return whole.reset_index()


def _grid(test: pd.DataFrame, columns: list[str], unit: str) -> AlignedPredictions:
    """The rows as [arm, seed, item]; every combination must be there exactly once."""
    arms = test[ARM].drop_duplicates().sort_values(ARM).reset_index(drop=True)
    arm = pd.MultiIndex.from_frame(arms).get_indexer(pd.MultiIndex.from_frame(test[ARM]))
    seed, seeds = pd.factorize(test.seed, sort=True)
    item, items = pd.factorize(test[unit], sort=True)
    shape = (len(arms), len(seeds), len(items))
    place = np.ravel_multi_index((arm, seed, item), shape)
    times = np.bincount(place, minlength=np.prod(shape)).reshape(shape)
    if (times != 1).any():
        a, s, i = np.argwhere(times != 1)[0]
        raise EvaluationError(
            f"{unit} {items[i]} has {times[a, s, i]} predictions instead of 1 in arm "
            f"{'/'.join(map(str, arms.iloc[a]))}, seed {seeds[s]} ({(times != 1).sum()} such cases): all arms "
            "and seeds must predict the same test items once"
        )
    order = np.argsort(place)
    labels = test.label.to_numpy()[order].astype(int).reshape(shape)
    patient, _ = pd.factorize(test.patient_id, sort=True)
    patients = patient[order].reshape(shape)
    for what, values in (("labels", labels), ("patients", patients)):
        if (differ := (values != values[0, 0]).any(axis=(0, 1))).any():
            raise EvaluationError(f"{unit} {items[differ.argmax()]} has different {what} in different arms or seeds")
    probabilities = test[columns].to_numpy(float)[order].reshape(*shape, len(columns))
    return AlignedPredictions(arms, np.asarray(seeds), labels[0, 0], patients[0, 0], probabilities)

"""Explanations of a task: chosen cases of the pretrained network beside the baseline, and the pointing game."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.downstream.downstream_task import Task
from scanloom.explain._cases import choose_cases
from scanloom.explain._pointing import hits, near, summary
from scanloom.images.intensity import to_unit
from scanloom.metrics._weighted import predicted

BATCH = 64


@dataclass(frozen=True)
class Explained:
    """cases: one row per shown image; arrays: their images, masks and maps in the same order; pointing: per method."""

    cases: pd.DataFrame
    arrays: dict[str, np.ndarray]
    pointing: dict


def explain(
    images_of: Callable[[np.ndarray], np.ndarray],
    table: pd.DataFrame,
    predictions: dict[str, pd.DataFrame],
    models: dict[str, object],
    task: Task,
    masks: dict[str, np.ndarray],
    method: str = "grad_cam",
    cases_per_group: int = 3,
    tolerance_px: int = 0,
    seed: int = 0,
) -> Explained:
    """Maps of the same cases for every network, and how often each network points at the lesion.

    images_of, table: the shards. predictions: name of the pretraining method -> its prediction table at one fraction
    and one seed; the first one chooses the cases. models: the same names -> keras models of that fraction and seed.
    masks: item_id -> bool `[*spatial]` of the images that have one. method: a file of `explain/`. The cases say what
    each network predicts and how probable it finds that; the maps of every network are for the class that the first
    one predicts, so that they can be compared. The pointing game is played on all test images with a lesion in their
    mask that the network classifies correctly as something else than class 0.
    """
    if not predictions or set(predictions) != set(models):
        raise ValueError(f"predictions {sorted(predictions)} and models {sorted(models)} must name the same methods")
    row_of = pd.Series(np.arange(len(table)), index=table["item_id"])
    tests = {name: _test_rows(part, name) for name, part in predictions.items()}
    first = next(iter(tests))
    cases = choose_cases(tests[first].reset_index(), len(task.classes), cases_per_group)
    explainers = {
        name: plugins.load("explain", method).explainer(model, plugins.settings("explain", method, {}))
        for name, model in models.items()
    }

    def maps_of(name: str, item_ids, class_index) -> np.ndarray:
        rows, class_index = row_of[item_ids].to_numpy(), np.asarray(class_index)
        starts = range(0, len(rows), BATCH)
        parts = [explainers[name](to_unit(images_of(rows[s : s + BATCH])), class_index[s : s + BATCH]) for s in starts]
        return np.concatenate(parts)

    rows = row_of[cases["item_id"]].to_numpy()
    images = images_of(rows)
    blank = np.zeros(images.shape[1:-1], bool)
    arrays = {
        "item_id": cases["item_id"].to_numpy(str),
        "images": images,
        "masks": np.stack([masks.get(item, blank) for item in cases["item_id"]]),
        "has_mask": np.array([item in masks for item in cases["item_id"]]),
    }
    pointing = {"explanation": method, "tolerance_px": tolerance_px, "methods": {}}
    for name, part in tests.items():
        probabilities = part.loc[cases["item_id"], _columns(task)].to_numpy()
        cases[f"prediction_{name}"] = predicted(probabilities)
        cases[f"probability_{name}"] = probabilities[np.arange(len(cases)), cases[f"prediction_{name}"]]
        arrays[f"maps_{name}"] = maps_of(name, cases["item_id"], cases["prediction"])
        pointing["methods"][name] = _pointing_game(part, name, task, masks, tolerance_px, maps_of, seed)
    return Explained(cases, arrays, pointing)


def save(explained: Explained, folder: Path) -> None:
    """Write cases.parquet, cases.npz and pointing.json into `folder`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    explained.cases.to_parquet(folder / "cases.parquet", index=False)
    np.savez_compressed(folder / "cases.npz", **explained.arrays)
    (folder / "pointing.json").write_text(json.dumps(explained.pointing, indent=1, allow_nan=False) + "\n")


def _columns(task: Task) -> list[str]:
    return [f"p{index}" for index in range(len(task.classes))]


def _test_rows(predictions: pd.DataFrame, name: str) -> pd.DataFrame:
    part = predictions[predictions["split"] == "test"].set_index("item_id")
    if part.empty or not part.index.is_unique:
        raise ValueError(f"{name}: predictions must have each test image once (one fraction, one seed)")
    return part


def _pointing_game(part: pd.DataFrame, name: str, task: Task, masks: dict, tolerance_px: int, maps_of, seed) -> dict:
    found = predicted(part[_columns(task)].to_numpy())
    right = part[(found == part["label"].to_numpy()) & (found > 0)]
    right = right[[item in masks and bool(masks[item].any()) for item in right.index]]
    if right.empty:
        return summary(np.zeros(0, bool), np.zeros((0, 1), bool), np.zeros(0), seed)
    targets = near(np.stack([masks[item] for item in right.index]), tolerance_px)
    is_hit = hits(maps_of(name, right.index, right["label"]), targets)
    return summary(is_hit, targets, right["patient_id"].to_numpy(), seed)

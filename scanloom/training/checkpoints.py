"""Checkpoints: all variables of a model and its optimizer in one npz file that is either old or complete.

Variables are stored in their order, float32, without names of backends: a state written under TensorFlow loads under
JAX. The shapes are checked on the way in, so a checkpoint of another model is an error, not a wrong start.
"""

import json
import os
from pathlib import Path

import numpy as np

from scanloom.atomic_files import whole_file


def save_checkpoint(
    path: Path, model, step: int, rows: list[dict], logs: list[dict[str, float]], retries: int = 0
) -> None:
    """The variables of the model and its optimizer, updates done, the history so far, what the updates of the interval
    under way reported, and how often the training went back to an earlier checkpoint; atomically.
    """
    path = Path(path)
    values = {name: np.asarray(variable.value) for name, variable in _variables(model).items()}
    texts = {"rows": np.array(json.dumps(rows)), "logs": np.array(json.dumps(logs))}
    with whole_file(path) as file:
        np.savez(file, step=np.int64(step), retries=np.int64(retries), **values, **texts)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path, model) -> tuple[int, list[dict], list[dict[str, float]], int]:
    """(updates done, history rows, logs of the interval under way, times of going back) of `save_checkpoint`.

    The model, which must be compiled and built, gets its state. Raises ValueError where the file is of another model.
    """
    with np.load(path) as stored:
        step = _assign(path, stored, model)
        return step, json.loads(str(stored["rows"])), json.loads(str(stored["logs"])), int(stored["retries"])


def step_of(path: Path) -> int:
    """Updates done by the training of a checkpoint; 0 where there is none."""
    if not Path(path).exists():
        return 0
    with np.load(path) as stored:
        return int(stored["step"])


def _variables(model) -> dict[str, object]:
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{group}_{i:04d}": variable for group, all_ in groups.items() for i, variable in enumerate(all_)}


def _assign(path: Path, stored, model) -> int:
    variables = _variables(model)
    expected = {name: tuple(variable.shape) for name, variable in variables.items()}
    found = {name: stored[name].shape for name in stored.files if name.startswith(("model_", "optimizer_"))}
    if found != expected:
        other = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise ValueError(
            f"{path} is a checkpoint of another model: {len(other)} of {len(expected)} variables differ, first "
            f"{other[0]}: {found.get(other[0])} in the file, {expected.get(other[0])} in the model. Remove the file."
        )
    for name, variable in variables.items():
        variable.assign(stored[name])
    return int(stored["step"])

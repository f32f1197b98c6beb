"""Checkpoints: all variables of a model and its optimizer in one npz file that is either old or complete.

Variables are stored in their order, float32, without names of backends: a state written under TensorFlow loads under
JAX. The shapes are checked on the way in, so a checkpoint of another model is an error, not a wrong start.
"""

import json
import os
from pathlib import Path

import numpy as np


def save_state(path: Path, model, step: int) -> None:
    """Write `model.variables`, `model.optimizer.variables` and the number of updates done, atomically."""
    _write(path, model, step, {})


def load_state(path: Path, model) -> int:
    """The number of updates done, after the variables of `path` were put into `model` and its optimizer.

    The model must be compiled and built. Raises ValueError where the file is of another model.
    """
    with np.load(path) as stored:
        return _assign(path, stored, model)


def save_checkpoint(
    path: Path, model, step: int, rows: list[dict], logs: list[dict[str, float]], retries: int = 0
) -> None:
    """The state, the history so far, what the updates of the interval under way reported, times of going back."""
    texts = {"rows": np.array(json.dumps(rows)), "logs": np.array(json.dumps(logs))}
    _write(path, model, step, texts | {"retries": np.int64(retries)})


def retries_of(path: Path) -> int:
    """How often the training of a checkpoint went back to an earlier one."""
    with np.load(path) as stored:
        return int(stored["retries"])


def load_checkpoint(path: Path, model) -> tuple[int, list[dict], list[dict[str, float]]]:
    """(updates done, history rows, logs of the interval under way) of `save_checkpoint`; the model gets its state."""
    with np.load(path) as stored:
        step = _assign(path, stored, model)
        return step, json.loads(str(stored["rows"])), json.loads(str(stored["logs"]))


def step_of(path: Path) -> int:
    """Updates done by the training of a checkpoint; 0 where there is none."""
    if not Path(path).exists():
        return 0
    with np.load(path) as stored:
        return int(stored["step"])


def _variables(model) -> dict[str, object]:
    groups = {"model": model.variables, "optimizer": model.optimizer.variables}
    return {f"{group}_{i:04d}": variable for group, all_ in groups.items() for i, variable in enumerate(all_)}


def _write(path: Path, model, step: int, extra: dict[str, np.ndarray]) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {name: np.asarray(variable.value) for name, variable in _variables(model).items()}
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        np.savez(file, step=np.int64(step), **values, **extra)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


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

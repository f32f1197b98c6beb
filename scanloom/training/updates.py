"""One update of a Keras model on one batch, whole or in parts, and how long such updates take."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from scanloom.optimizers import copied
from scanloom.training.branches import UPDATE_SHARE
from scanloom.training.budget import DoesNotFit

_NO_KERNEL = re.compile(r"No OpKernel was registered to support Op '(\w+)'")  # TensorFlow's words


def update(model, batch: dict[str, np.ndarray], micro_batches: int = 1) -> dict[str, float]:
    """What the model reports of one update on a batch, in parts if so wished: then the parts' means.

    Raises DoesNotFit for what methods and views refuse only when they see images, and for what this processor cannot.
    """
    parts = _parts(batch, micro_batches) if micro_batches > 1 else [batch]
    with _refusals():
        made = [model.train_on_batch(part, return_dict=True) for part in parts]
    return means([{name: float(value) for name, value in logs.items()} for logs in made])


@contextmanager
def _refusals() -> Iterator[None]:
    """DoesNotFit in place of errors that say that these settings cannot be computed."""
    try:
        yield
    except ValueError as error:
        raise DoesNotFit(str(error)) from error
    except Exception as error:  # of a type that importing TensorFlow would give
        missing = _NO_KERNEL.search(str(error))
        if missing is None:
            raise
        raise DoesNotFit(
            f"TensorFlow has no {missing[1]} for this processor in this precision; use precision: bfloat16 or float32"
        ) from error


def _parts(batch: dict[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    size = len(next(iter(batch.values())))
    if size % count:
        raise DoesNotFit(f"a batch of {size} images cannot be cut into {count} equal parts")
    cuts = [slice(i * size // count, (i + 1) * size // count) for i in range(count)]
    share = np.full(size // count, 1 / count, np.float32)
    return [{name: values[cut] for name, values in batch.items()} | {UPDATE_SHARE: share} for cut in cuts]


def means(logs: list[dict[str, float]]) -> dict[str, float]:
    """The mean of each number over the updates that reported it."""
    names = sorted({name for made in logs for name in made})
    return {name: float(np.mean([made[name] for made in logs if name in made])) for name in names}


def build_variables(model, batch_at: Callable) -> None:
    """Create all variables, so that a checkpoint has where to go before the first update."""
    if not model.built:
        with _refusals():
            model({name: values[:2] for name, values in batch_at(0).items()}, training=False)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def seconds_without_input(model, batch: dict[str, np.ndarray], updates: int, micro_batches: int = 1) -> float:
    """Seconds per update on one batch that stays in memory; the model is afterwards as before.

    Where players take turns, whole rounds are timed, at least as many updates as asked for; the first round, which
    builds the graphs, is left out.
    """
    build_variables(model, lambda step: batch)
    variables = [*model.variables, *model.optimizer.variables]
    before = [copied(variable) for variable in variables]
    turns = round_of(model)
    updates = -(-updates // turns) * turns
    for step in range(turns):
        update(model, at_step(batch, step), micro_batches)
    start = time.perf_counter()
    for step in range(updates):
        update(model, at_step(batch, step), micro_batches)
    passed = time.perf_counter() - start
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    return passed / updates


def round_of(model) -> int:
    """Updates until every player of an `Alternating` model has had its turns; 1 for other models."""
    return getattr(model, "round", 1)


def at_step(batch: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """The batch as if it were that of another step, which says whose turn it is."""
    return batch | {"step": np.full_like(batch["step"], step)} if "step" in batch else batch

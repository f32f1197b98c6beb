"""Weights from one model to another by name and shape, with an account of what found its place."""

from dataclasses import dataclass

from scanloom.lazy import keras


@dataclass(frozen=True)
class Transfer:
    """Paths of variables: filled from the source, left as they were, and of the source without use."""

    matched: tuple[str, ...]
    missed: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.matched)} variables matched, {len(self.missed)} missed, {len(self.unused)} unused"


def transfer(source, target) -> Transfer:
    """Copy every variable of `source` into the variable of `target` with the same path and shape.

    Raises ValueError when nothing matches: a network would then be called pretrained that is not. What was missed is
    for the caller to judge (a new head has to be missed, a layer of the encoder must not be).
    """
    ours = {variable.path: variable for variable in source.variables}
    theirs = {variable.path: variable for variable in target.variables}
    matched = [path for path in theirs if path in ours and ours[path].shape == theirs[path].shape]
    if not matched:
        raise ValueError(
            f"no weight of '{source.name}' fits '{target.name}': "
            f"the first are {_first(ours)}, wanted are {_first(theirs)}"
        )
    for path in matched:
        theirs[path].assign(keras.ops.convert_to_numpy(ours[path].value))
    return Transfer(
        tuple(matched),
        tuple(path for path in theirs if path not in set(matched)),
        tuple(path for path in ours if path not in set(matched)),
    )


def _first(variables: dict) -> str:
    return ", ".join(f"{path} {tuple(variable.shape)}" for path, variable in list(variables.items())[:3]) or "none"

"""What the typed models of the configuration share: they refuse unknown keys; names; their error; keys to suggest."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

NAME = re.compile(r"[a-z][a-z0-9_]*")


class Strict(BaseModel):
    """Unknown keys are errors, as are numbers that are not finite; values do not change after they were checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ConfigError(ValueError):
    """A study or dataset file that cannot be run; the message names file, key, value and remedy."""


def _checked_name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("names are lower-case letters, digits and underscores, starting with a letter")
    return value


Name = Annotated[str, BeforeValidator(_checked_name)]


def all_keys(model: type[BaseModel], seen: set | None = None) -> list[str]:
    """Every key that the model and the models below it know, for suggestions."""
    seen = set() if seen is None else seen
    keys = []
    for name, field in model.model_fields.items():
        keys.append(name)
        for inner in models_in(field.annotation):
            if inner not in seen:
                seen.add(inner)
                keys += all_keys(inner, seen)
    return keys


def models_in(annotation) -> list[type[BaseModel]]:
    """Models that a field's type is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]

"""One-file plug-ins: find them by their folder and stem, load them, check their settings.

A plug-in kind is a folder below this package ("steps", "methods", "report/sections"); every `.py` file in it that does
not start with an underscore is one plug-in, and the file's stem is its only name.
"""

import difflib
import importlib
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel, ValidationError

PACKAGE = Path(__file__).parent


class UnknownPlugin(ValueError):
    """No file of that name in the plug-in folder."""


class BadSettings(ValueError):
    """A plug-in's settings do not fit its `Settings` model."""


def names(kind: str) -> list[str]:
    """Names of all plug-ins of `kind`, sorted."""
    return sorted(path.stem for path in (PACKAGE / kind).glob("*.py") if not path.stem.startswith("_"))


def file_of(kind: str, name: str) -> Path:
    """Path of the plug-in's file. Raises UnknownPlugin with a suggestion."""
    known = names(kind)
    if name not in known:
        raise UnknownPlugin(
            f"no {kind.split('/')[-1].removesuffix('s')} '{name}'. Known: {', '.join(known)}.{suggestion(name, known)}"
        )
    return PACKAGE / kind / f"{name}.py"


def load(kind: str, name: str) -> ModuleType:
    """The plug-in's module. Raises UnknownPlugin with a suggestion."""
    file_of(kind, name)
    return importlib.import_module(f"scanloom.{kind.replace('/', '.')}.{name}")


def settings(kind: str, name: str, values: dict | None) -> BaseModel:
    """The plug-in's checked settings, defaults filled in. Raises UnknownPlugin or BadSettings."""
    model = load(kind, name).Settings
    try:
        return model(**(values or {}))
    except ValidationError as error:
        raise BadSettings(f"{kind}/{name}: {explain(error, list(model.model_fields))}") from None


def suggestion(name: str, known: list[str]) -> str:
    """' Did you mean ...?' for a close match, else an empty string."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f" Did you mean '{close[0]}'?" if close else ""


def explain(error: ValidationError, known: list[str] = ()) -> str:
    """One line per problem of a pydantic error: where, which value, what was expected."""
    lines, problems = [], error.errors()
    # Where text or a table would do, a wrong table is also no text: that alone is worth saying only where it was text.
    tables = {problem["loc"][:-2] for problem in problems if len(problem["loc"]) > 2}
    problems = [p for p in problems if not (p["loc"][-1:] == ("str",) and p["loc"][:-1] in tables)]
    for problem in problems:
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            leaf = str(problem["loc"][-1])
            lines.append(f"unknown key '{where}'.{suggestion(leaf, [key for key in known if key != leaf])}")
        elif problem["type"] == "missing":
            lines.append(f"key '{where}' is missing")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "string_type" and isinstance(problem["input"], bool):
                message += " (yes, no, on and off are true and false in YAML: put them in quotes)"
            # What is wrong with several keys together says so itself; all of them would bury it.
            whole = not where or isinstance(problem["input"], dict)
            if not whole:
                where += f" = {problem['input']!r}"
            lines.append(f"{where}: {message}" if where else message)
    return "; ".join(lines)

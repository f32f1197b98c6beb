"""The `views` of a study: a list, presets, or one list per branch; here they become plain lists of names and settings.

A preset is one file scanloom/view_presets/<name>.yaml with `title`, `source` and `views`. It is replaced by its content
when the configuration is read, so that runs depend on the views and not on what a list of them is called.
"""

from pathlib import Path
from typing import Any

import yaml

from scanloom.plugins import suggestion

FOLDER = Path(__file__).parents[1] / "view_presets"
FORMS = "a list of views, {preset: name}, or {branch_1: [...], branch_2: [...]}"


def presets() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def preset(name: str) -> dict:
    """The preset's file: `title`, `source`, `views`. Raises ValueError with a suggestion."""
    if name not in presets():
        raise ValueError(f"no preset '{name}'. Known: {', '.join(presets())}.{suggestion(str(name), presets())}")
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def written_out(views: Any) -> list | dict[str, list]:
    """`views` without presets: a list of plug-ins as written, or {branch_1: list, ...}. Raises ValueError."""
    if isinstance(views, list):
        return [view for entry in views for view in _of_one_list(entry)]
    if isinstance(views, dict) and set(views) == {"preset"}:
        return written_out(preset(views["preset"])["views"])
    if not isinstance(views, dict) or not views:
        raise ValueError(f"expected {FORMS}")
    expected = [f"branch_{number}" for number in range(1, len(views) + 1)]
    if list(views) != expected:
        raise ValueError(f"{', '.join(map(str, views))}: expected {FORMS}; branches are named {', '.join(expected)}")
    branches = {branch: written_out(listed) for branch, listed in views.items()}
    for branch, listed in branches.items():
        if isinstance(listed, dict):
            raise ValueError(f"{branch}: the preset has branches of its own; use it for all of `views`")
    return branches


def branches_of(views: list | dict[str, list]) -> list[list]:
    """The lists of views, one per branch that has its own; plug-ins of any kind."""
    return list(views.values()) if isinstance(views, dict) else [views]


def pairs(views: list | dict[str, list]) -> list | dict[str, list]:
    """The same with (name, settings) for every view {"name", "settings"} of a resolved configuration."""
    if isinstance(views, dict):
        return {branch: pairs(listed) for branch, listed in views.items()}
    return [(view["name"], view["settings"]) for view in views]


def _of_one_list(entry: Any) -> list:
    if not (isinstance(entry, dict) and set(entry) == {"preset"}):
        return [entry]
    views = written_out(entry)
    if isinstance(views, dict):
        raise ValueError(f"preset '{entry['preset']}' has branches, which cannot stand in a list; write views: {entry}")
    return views

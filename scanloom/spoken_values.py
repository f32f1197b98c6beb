"""Settings of a study in few words, for names of trials and tables of the report."""

from typing import Any


def spoken(values: dict[str, Any]) -> str:
    """`learning_rate 0.001, projector [64, 64]`: values with the last word of their path."""
    names = short_names(list(values))
    return ", ".join(f"{names[path]} {spoken_value(value)}" for path, value in values.items())


def short_names(paths: list[str]) -> dict[str, str]:
    """Path -> its last word that is no number, with the one before where several paths end alike."""
    words = {path: [word for word in path.split(".") if not word.isdigit()] for path in paths}
    last = [parts[-1] for parts in words.values()]
    return {path: parts[-1] if last.count(parts[-1]) == 1 else ".".join(parts[-2:]) for path, parts in words.items()}


def spoken_value(value: Any) -> str:
    """A value as it stands in names and tables; plug-ins by name, lists of plug-ins with plus signs."""
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else f"{value:.12g}"  # different values, different words
    if isinstance(value, dict) and set(value) == {"name", "settings"}:
        value = {value["name"]: value["settings"]}
    if isinstance(value, dict):
        parts = [
            f"{key} ({spoken(inner)})" if isinstance(inner, dict) and inner else key for key, inner in value.items()
        ]
        whole = all(isinstance(inner, dict) for inner in value.values())
        return " + ".join(parts) if whole else spoken(value)
    if isinstance(value, list) and value and all(isinstance(part, dict | str) for part in value):
        return " + ".join(spoken_value(part) for part in value)
    if isinstance(value, list):
        return f"[{', '.join(spoken_value(part) for part in value)}]"
    return "none" if value is None else str(value)

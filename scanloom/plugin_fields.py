"""A plug-in with its settings as one value of a typed model: a name, or {name: {setting: value}}."""

from typing import Annotated, Any

from pydantic import BeforeValidator

from scanloom import plugins
from scanloom.strict_models import Strict


def one_plugin(value: Any) -> dict:
    """`name` or `{name: {setting: value}}` as {"name", "settings"}. Raises ValueError."""
    if isinstance(value, str):
        return {"name": value, "settings": {}}
    if isinstance(value, dict) and set(value) == {"name", "settings"}:
        return value
    if isinstance(value, dict) and len(value) == 1:
        [(name, settings)] = value.items()
        return {"name": name, "settings": settings or {}}
    raise ValueError("expected a name, or one name with its settings: {name: {setting: value}}")


class Plugin(Strict):
    """A plug-in's name and its settings as written."""

    name: str
    settings: dict[str, Any] = {}

    def checked(self, kind: str) -> "Plugin":
        """The same with all defaults filled in. Raises ValueError with a suggestion for unknown names and keys."""
        return Plugin(name=self.name, settings=plugins.settings(kind, self.name, self.settings).model_dump(mode="json"))


def plugin_of(kind: str):
    """Field type: one plug-in of `kind`, checked against the files in its folder."""

    def check(value: Any) -> Plugin:
        return value if isinstance(value, Plugin) else Plugin(**one_plugin(value)).checked(kind)

    return Annotated[Plugin, BeforeValidator(check)]

"""YAML files whose keys stand once, read with errors that name the file."""

from pathlib import Path

import yaml

from scanloom.strict_models import ConfigError


class _OneKeyEach(yaml.SafeLoader):
    """YAML whose keys stand once: of two, the first would be lost without a word."""

    def compose_mapping_node(self, anchor):
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"key '{key.value}' stands there twice", key.start_mark)
            seen.add(key.value)
        return node


def read_yaml(path: Path) -> dict:
    """The mapping that the file holds. Raises ConfigError, also where a key stands in it twice."""
    try:
        values = yaml.load(path.read_text(), _OneKeyEach)
    except FileNotFoundError:
        raise ConfigError(f"{path}: file not found") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(values).__name__}")
    return values

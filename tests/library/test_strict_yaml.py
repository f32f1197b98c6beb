"""YAML files are read with errors that name file, key and line."""

import pytest

from scanloom.strict_models import ConfigError
from scanloom.strict_yaml import read_yaml


def test_a_key_that_stands_twice_is_an_error_that_shows_the_second(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("name: mine\nencoder:\n  resnet:\n    depth: 10\n    width: 4\n    depth: 18\n")
    with pytest.raises(ConfigError, match=r"study.yaml: not valid YAML: key 'depth' stands there twice\n.* line 6,"):
        read_yaml(file)
    file.write_text("first: {depth: 10}\nsecond: {depth: 10}\n")
    assert read_yaml(file) == {"first": {"depth": 10}, "second": {"depth": 10}}


@pytest.mark.parametrize(("text", "why"), [("a: [1", "not valid YAML"), ("- a\n- b\n", "found list"), ("", "NoneType")])
def test_what_is_no_mapping_is_an_error_that_names_the_file(tmp_path, text, why):
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"study.yaml: .*{why}"):
        read_yaml(tmp_path / "study.yaml")
    with pytest.raises(ConfigError, match=r"other.yaml: file not found"):
        read_yaml(tmp_path / "other.yaml")

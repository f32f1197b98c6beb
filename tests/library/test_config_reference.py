"""Schemas and pages made of the models are those in the repository."""

import json

from scanloom import config_reference


def test_schemas_in_the_repository_equal_the_models(root):
    for name, schema in config_reference.json_schemas().items():
        assert json.loads((root / "schemas" / name).read_text()) == schema, "run `make schemas`"


def test_steps_page_equals_the_steps(root):
    assert (root / "docs" / "steps.md").read_text() == config_reference.steps_page(), "run `make schemas`"


def test_configuration_page_equals_the_models(root):
    assert (root / "docs" / "configuration.md").read_text() == config_reference.configuration_page(), (
        "run `make schemas`"
    )

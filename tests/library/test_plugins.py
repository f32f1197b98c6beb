"""Plug-ins are found by their file name."""

import math
import subprocess
import sys

import pytest

from scanloom import plugins

KINDS = [
    *("sources", "readers", "steps", "views", "encoders", "methods", "optimizers", "schedules"),
    *("metrics", "explain", "report/sections"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_plugin_loads_and_says_what_it_is(kind):
    assert plugins.names(kind)
    for name in plugins.names(kind):
        assert plugins.load(kind, name).__doc__, f"{kind}/{name}.py has no docstring"


def test_unknown_name_is_an_error_with_a_suggestion():
    with pytest.raises(plugins.UnknownPlugin, match="Did you mean 'hu_window'"):
        plugins.load("steps", "hu_windw")


def test_a_wrong_table_is_not_said_to_be_no_text():
    """A window is a name or {level, width}: what is wrong with the latter is what was meant."""
    with pytest.raises(
        plugins.BadSettings, match=r"^steps/hu_window: windows.0.Window.width = 0: window width must be > 0"
    ):
        plugins.settings("steps", "hu_window", {"windows": [{"level": 40, "width": 0}]})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("metrics", "explain", "report/sections")])
def test_no_setting_is_infinite_or_no_number(kind, value):
    """YAML writes them .inf and .nan: a blur of infinite width is not what anybody wants to have computed."""
    for name in plugins.names(kind):
        for field in plugins.load(kind, name).Settings.model_fields:
            with pytest.raises(plugins.BadSettings, match=rf"\b{field}\b"):
                plugins.settings(kind, name, {field: value})


def test_shared_files_are_no_plugins():
    assert not [name for kind in KINDS for name in plugins.names(kind) if name.startswith("_")]


def test_planning_a_study_imports_no_learning_framework(root):
    """Importing TensorFlow costs about ten CPU seconds; every start of Snakemake would pay them."""
    code = (
        "import sys, yaml; from scanloom import config, dataset_config, preflight; "
        "s = config.study_from(yaml.safe_load(open('config.yaml'))); "
        "preflight.check(s, {d: dataset_config.load_dataset(d, 'datasets', u) for d, u in s.datasets.items()}); "
        "print(sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

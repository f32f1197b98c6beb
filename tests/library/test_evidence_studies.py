"""The studies of `make evidence` are valid, and none of the methods is forgotten."""

import importlib
from pathlib import Path

import pytest

from scanloom import config, plugins


@pytest.fixture
def methods(root, monkeypatch):
    """benchmarks/evidence/methods.py."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    monkeypatch.syspath_prepend(str(root / "benchmarks" / "evidence"))
    return importlib.import_module("methods")


@pytest.mark.parametrize("name", ["pneumoniamnist", "ham10000", "hippocampus", "adrenal"])
def test_a_study_trains_every_method_under_one_budget(methods, root, name):
    study = config.study_from(methods.study_of(name, Path("shared"), Path("work")), name)
    assert set(study.pretraining.methods) == set(plugins.names("methods")) - set(methods.LEFT_OUT)
    assert not study.pretraining.overrides
    for used in study.datasets:
        assert (root / "benchmarks" / "evidence" / "datasets" / f"{used}.yaml").exists() or (
            root / "datasets" / f"{used}.yaml"
        ).exists()


def test_the_page_marks_methods_that_do_not_beat_random_features(methods):
    fractions = ["0.1", "1"]
    beaten = {"method": "a", "difference frozen 0.1": [0.1, 0.05, 0.2], "difference frozen 1": [0.0, -0.1, 0.1]}
    not_beaten = {"method": "b", "difference frozen 0.1": [0.1, -0.05, 0.2], "difference frozen 1": [0.1, 0.0, 0.2]}
    assert methods.said(beaten, fractions)[1] == "at 10 %"
    assert methods.said(not_beaten, fractions)[1] == "**no**"
    assert methods.said({"method": "from_scratch"}, fractions)[1] == "is random features"

"""The studies of `make evidence` are valid, and none of the methods is forgotten."""

import importlib
import json
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


def test_rows_of_earlier_runs_are_kept_and_replaced_by_new_ones(methods, tmp_path):
    def row(method, value, **more):
        about = {"method": method, "knn": 0.5, "commit": "abc", "frozen 0.1": value, "frozen 1": value}
        return about | {f"difference frozen {f}": [0.1, 0.05, 0.2] for f in ("0.1", "1")} | more

    file = tmp_path / "set.json"
    assert methods.with_earlier([row("a", 0.7)], file) == [row("a", 0.7)]
    file.write_text(json.dumps({"rows": [row("a", 0.6), row("b", 0.8, **{"finetuned 0.1": 0.9})]}))
    rows = methods.with_earlier([row("a", 0.7)], file)
    assert [(r["method"], r["frozen 1"]) for r in rows] == [("a", 0.7), ("b", 0.8)]
    lines = methods.table({"fractions": [0.1, 1.0]}, rows).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| b", "| a"]
    assert "| 0.900 | - |" in lines[2]
    assert "| - | - |" in lines[3]

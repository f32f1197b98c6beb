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


def test_lines_of_earlier_runs_are_read_from_the_page_and_written_as_they_were(methods, root):
    page = (root / "benchmarks" / "methods.md").read_text()
    parts = methods.parts_of(page)
    for name, part in parts.items():
        study = methods.study_of(name, Path(), Path())
        parts[name] = f"{part.partition(chr(10))[0]}\n\n{methods.table(study, methods.lines_of(part))}"
    assert methods.page_of(parts) == page


def test_a_new_line_says_what_was_run_and_the_table_puts_the_best_probe_first(methods):
    def line(method, value, **more):
        row = {"method": method, "knn": 0.5, "frozen 0.1": value, "frozen 1": value, "ended": ""} | more
        row |= {f"difference frozen {fraction}": [0.1, 0.05, 0.2] for fraction in ("0.1", "1")}
        return methods.cells_of(row, study, "abc")

    study = {"fractions": [0.1, 1.0]}
    lines = [line("a", 0.7, ended="update 5: collapsed"), line("b", 0.8, **{"finetuned 0.1": 0.9})]
    assert methods.table(study, lines).splitlines() == [
        "| method | kNN, k = 11 | frozen, 10 % | frozen, 100 % | finetuned, 10 % | probe minus random features, 100 % "
        "| beats random features | ended early | commit |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        "| b | 0.500 | 0.800 | 0.800 | 0.900 | +0.100 (+0.050 to +0.200) | at 10 %, 100 % | - | abc |",
        "| a | 0.500 | 0.700 | 0.700 | - | +0.100 (+0.050 to +0.200) | at 10 %, 100 % | update 5: collapsed | abc |",
    ]


def test_a_run_without_finetuning_keeps_what_an_earlier_one_found(methods):
    old = {"a": {"method": "a", "frozen, 10 %": "0.700", "finetuned, 10 %": "0.900", "commit": "abc"}}
    new = {"a": {"method": "a", "frozen, 10 %": "0.800", "commit": "def"}, "b": {"method": "b", "commit": "def"}}
    joined = methods.with_earlier(old, new)
    assert joined["a"] == new["a"] | {"finetuned, 10 %": "0.900", "commit": "def, finetuned abc"}
    assert joined["b"] == new["b"]

"""Origins: equal for equal causes, different when any of them differs."""

import json

from scanloom import provenance


def test_origin_changes_with_settings_data_and_code(tmp_path):
    data = tmp_path / "data"
    data.write_bytes(b"1")
    base = provenance.origin("rule", {"a": 1}, [data], "c0de")
    assert provenance.origin("rule", {"a": 1}, [data], "c0de") == base
    assert provenance.origin("rule", {"a": 2}, [data], "c0de")["config"] != base["config"]
    assert provenance.origin("rule", {"a": 1}, [data], "c0d3")["code"] != base["code"]
    data.write_bytes(b"2")
    assert provenance.origin("rule", {"a": 1}, [data], "c0de")["data"] != base["data"]


def test_stamp_is_json_beside_the_result(tmp_path):
    path = tmp_path / "metrics.parquet.origin.json"
    provenance.stamp(path, "evaluate_task", {"resamples": 10}, [], "c0de")
    assert json.loads(path.read_text())["rule"] == "evaluate_task"


def test_trainings_depend_on_the_framework_only():
    assert set(provenance.framework_versions()) <= {"keras", "numpy", "tensorflow-cpu", "jax"}
    assert "snakemake" in provenance.versions()

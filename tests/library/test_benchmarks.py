"""The benchmarks run, and compare what is equal; their sizes here are too small to say anything about speed."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from scanloom import plugins

SCRIPTS = [
    "catalogue_table",
    "collapse_rule",
    "dicom_decode",
    "disentanglement",
    "fuzz",
    "header_scan",
    "leakage",
    "main_job",
    "memory",
    "planning_time",
    "shard_reading",
    "shard_writing",
    "slice_pipeline",
    "step_breakdown",
    "training_feed",
    "training_step",
    "views",
    "volume_pipeline",
]


@pytest.fixture
def benchmark_named(root, monkeypatch):
    """A function that imports one of the scripts."""
    monkeypatch.syspath_prepend(str(root / "benchmarks"))
    return importlib.import_module


def checked(rows: list[dict], benchmark_named) -> list[dict]:
    """The rows, after the comparison with the columns every benchmark has and the table they are printed as."""
    measure = benchmark_named("_measure")
    assert rows
    assert all(list(row) == measure.COLUMNS for row in rows)
    assert len(measure.table(rows).splitlines()) == len(rows) + 2
    return rows


def test_the_list_of_scripts_is_complete(root):
    assert sorted(path.stem for path in (root / "benchmarks").glob("[a-z]*.py")) == SCRIPTS


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_explains_itself_and_takes_the_common_arguments(root, name):
    script = root / "benchmarks" / f"{name}.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--data DIR" in done.stdout
    assert "--json FILE" in done.stdout
    assert len(done.stdout.split("options:")[0]) > 200


@pytest.mark.slow
def test_shards_are_read_as_they_were_written(benchmark_named, tmp_path):
    reading = benchmark_named("shard_reading")
    rows = checked(reading.rows(tmp_path, images=64, size=16, batch=16, rounds=2), benchmark_named)
    assert {row["measure"] for row in rows if row["goal"]} == {
        f"{reader}, {dtype}" for reader in ("open_shards", "tfdata") for dtype in ("uint8", "uint16")
    }


def test_a_reader_that_mixes_images_up_is_found(benchmark_named):
    reading = benchmark_named("shard_reading")
    images = benchmark_named("_synthetic").images_of(8, 8)
    reading.check("right", {"right": lambda: iter([images[:4], images[4:]])}, images)
    with pytest.raises(ValueError, match="wrong does not give the images"):
        reading.check("wrong", {"wrong": lambda: iter([images[4:], images[:4]])}, images)


@pytest.mark.slow
def test_both_writers_write_equal_examples(benchmark_named, tmp_path):
    rows = checked(
        benchmark_named("shard_writing").rows(tmp_path, images=16, size=16, rounds=2, imports=0), benchmark_named
    )
    assert [row["goal"] for row in rows if row["goal"]] == [">= 2.5 x", ">= 2.5 x", ">= 3 x"]
    assert all(row["ratio"] > 1 for row in rows if row["unit"] == "bytes/image")


@pytest.mark.slow
def test_both_ways_to_make_views_make_the_same_views(benchmark_named, tmp_path):
    rows = benchmark_named("views").rows(tmp_path, sizes=(48,), channels=(1, 3), images=16, batch=8, rounds=1)
    assert [row["goal"] for row in checked(rows, benchmark_named)] == [">= 2 x"] * 4


@pytest.mark.slow
def test_the_feed_is_measured_on_the_shipped_study(root, benchmark_named, tmp_path):
    small = yaml.safe_load((root / "config.yaml").read_text())["datasets"]
    small["phantom"]["steps"] = [{"hu_window": {"windows": ["brain", "bone"]}}, {"resize": {"size_px": [16, 16]}}]
    small = {"datasets": small, "encoder": {"resnet": {"depth": 10, "width": 2, "stem": "small"}}}
    rows = benchmark_named("training_feed").rows(tmp_path, images=32, updates=3, interval=1, changed=small)
    assert [row["unit"] for row in checked(rows, benchmark_named)] == ["% of time", "% of time", "images/s"]


@pytest.mark.slow
def test_the_step_is_measured_beside_a_supervised_one_and_the_peak(benchmark_named, tmp_path):
    steps = benchmark_named("training_step")
    tiny = steps.Work((16, 16, 1), 8, {"depth": 10, "stem": "small", "width": 2}, (8, 8, 8), goal=1.0, share_goal=0.5)
    rows = checked(
        steps.rows(tmp_path, works={"tiny": tiny}, rounds=1, matrix=32, interval=1), benchmark_named
    )  # the two graphs and a pretraining take 10 s
    assert [row["goal"] for row in rows] == [None, None, ">= 0.5", "<= 2.2", "<= 5"]


def test_the_step_is_told_against_the_fastest_peer(benchmark_named):
    measure, steps = benchmark_named("_measure"), benchmark_named("training_step")
    seconds = {"ours": 0.2, "supervised": 0.1, "torch eager": 0.3, "torch compile": 0.25, "gemm": 0.01, "gemm b": 0.02}
    timings = {name: measure.Timing([s, s], [s, s]) for name, s in seconds.items()}
    work = steps.Work((8, 8, 1), 2, {}, goal=1.2, share_goal=0.5)
    rows = {row["measure"]: row for row in steps.table_of("x", work, timings, gflop=9.0)}
    assert rows["x, against torch compile"]["ratio"] == pytest.approx(1.25)
    assert rows["x, against torch compile"]["met"] is True
    assert rows["x, against torch eager"]["goal"] is None
    assert rows["x, peak of matrix products"]["ours"] == pytest.approx(100)
    assert rows["x, share of the peak"]["ours"] == pytest.approx(9 / 0.2 / 100)
    assert rows["x, share of the peak"]["met"] is False
    assert rows["x, two views against a supervised step"]["ours"] == pytest.approx(2)


@pytest.mark.slow
def test_every_layer_of_an_update_is_timed_once_per_kind(benchmark_named, tmp_path):
    steps = benchmark_named("step_breakdown")
    tiny = steps.Work((16, 16, 1), 4, {"depth": 10, "stem": "small", "width": 2}, (8, 8, 8))
    measured = checked(steps.rows(tmp_path, works={"tiny": tiny}, rounds=1, matrix=32), benchmark_named)
    rows = {row["measure"]: row["ours"] for row in measured if row["unit"] == "ms/image"}
    kinds = {"views", "loss", "optimizer", "pooling", "additions", "activation", "batch normalisation"}
    kinds |= {steps.FORWARD, steps.OF_INPUT, steps.OF_WEIGHTS}
    assert set(rows) == {f"tiny, {kind}" for kind in (*kinds, "whole update", "left over")}
    parts = sum(value for name, value in rows.items() if name not in ("tiny, whole update", "tiny, left over"))
    assert rows["tiny, left over"] == pytest.approx(rows["tiny, whole update"] - parts)


def test_multiplications_are_counted_as_published(benchmark_named):
    """1.81 and 4.09 billion multiply-adds of ResNet-18 and 50 at 224 px (torchvision's table of weights)."""
    from scanloom.encoders import resnet

    steps = benchmark_named("training_step")
    for depth, published in ((18, 1.81e9), (50, 4.09e9)):
        settings = plugins.settings("encoders", "resnet", {"depth": depth, "stem": "imagenet"})
        assert sum(steps.flop_of(resnet.build(settings, (224, 224, 3), 0))) / 2 == pytest.approx(published, rel=0.01)


def test_another_loss_or_network_than_lightlys_is_found(benchmark_named, tmp_path):
    steps = benchmark_named("training_step")
    model = SimpleNamespace(trainable_variables=[np.zeros((3, 4))], head=SimpleNamespace(output=np.zeros((1, 2))))

    def formula(file, factor=1.0) -> float:
        with np.load(file) as stored:
            z1, z2 = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (stored["z1"], stored["z2"].astype(float)))
        c = z1.T @ z2 / len(z1)
        return factor * (((np.diag(c) - 1) ** 2).sum() + 0.005 * ((c**2).sum() - (np.diag(c) ** 2).sum()))

    def peer(parameters: int, factor: float):
        answers = {
            "loss": lambda file: {"loss": formula(file, factor)},
            "parameters": lambda: {"parameters": parameters},
        }
        return SimpleNamespace(ask=lambda way, **arguments: answers[way](**arguments))

    steps.check_equal(model, peer(14, 1.0), tmp_path)
    with pytest.raises(ValueError, match="our loss of the same embeddings"):
        steps.check_equal(model, peer(14, 1.001), tmp_path)
    with pytest.raises(ValueError, match="our networks have 12 parameters, PyTorch's 15"):
        steps.check_equal(model, peer(15, 1.0), tmp_path)


def test_another_python_is_asked_line_by_line(benchmark_named, tmp_path):
    script = tmp_path / "doubling.py"
    script.write_text(
        'import json, sys\nprint("a greeting")\nprint(json.dumps({"ways": ["double"]}), flush=True)\n'
        'for line in sys.stdin:\n    print(json.dumps({"is": 2 * json.loads(line)["x"]}), flush=True)\n'
    )
    other = benchmark_named("_other_python").OtherPython
    with other(sys.executable, str(script)) as peer:
        assert peer.ways == ["double"]
        assert [peer.ask("double", x=x)["is"] for x in (1, 4)] == [2, 8]
    script.write_text("raise SystemExit(3)")
    with pytest.raises(ValueError, match=r"doubling.py ended with status 3"):
        other(sys.executable, str(script))


@pytest.mark.slow
def test_the_step_on_an_accelerator_runs_without_tensorflow(root, tmp_path):
    """In the environment that has JAX alone; compiling takes half a minute."""
    python = Path(os.environ.get("SCANLOOM_JAX_PYTHON", root / ".venv-jax" / "bin" / "python"))
    script, file = root / "benchmarks" / "gpu" / "barlow_step.py", tmp_path / "rows.json"
    command = [python, script, "--tiny", "--batches", "4", "--updates", "4", "--json", file]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"KERAS_BACKEND": "jax"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text())["rows"]
    assert [row["unit"] for row in rows] == ["TFLOP/s", "images/s", "share", "images/s", "% of time"]
    assert all(row["ours"] > 0 for row in rows[:4])


@pytest.mark.slow
def test_the_collapse_rule_is_tried_on_spoilt_and_healthy_trainings(benchmark_named, tmp_path):
    """One healthy method, and one plant per cause, which are all found within three epochs."""
    script = benchmark_named("collapse_rule")
    plants = ["constant output (VICReg without variance and covariance)", "lambda 0 (Barlow Twins)"]
    plants += ["no batch normalisation (SimSiam)", "learning rate x 100 (Barlow Twins)"]
    rows = checked(script.rows(tmp_path, seeds=1, changed={"healthy": ["vicreg"], "spoilt": plants}), benchmark_named)
    assert [row["measure"] for row in rows[:5]] == [
        "healthy: vicreg, ended",
        *(f"spoilt: {plant}, ended at" for plant in plants),
    ]
    assert [row["met"] for row in rows[:5]] == [True] * 5
    trained = {name for name in plugins.names("methods") if plugins.load("methods", name).TRAINS}
    assert set(script.HEALTHY) == trained
    highest = {row["measure"]: row["spread"][1] for row in rows}  # one of the four plants, so the median says nothing
    assert highest["weight_gain, spoilt"] > 3 > highest["weight_gain, healthy"]


@pytest.mark.slow
def test_latent_methods_are_scored_beside_what_learns_nothing(benchmark_named, tmp_path):
    script = benchmark_named("disentanglement")
    few = {"updates": 2, "batch": 8, "seeds": 1, "count": 200, "methods": ["beta_vae, H"]}
    rows = checked(script.rows(tmp_path, **few), benchmark_named)
    scores = ["mig", "sap", "dci_disentanglement", "dci_completeness", "dci_informativeness", "factor_vae"]
    names = ["untrained encoder", "principal components", "beta_vae, H"]
    assert [row["measure"] for row in rows[:18]] == [f"{score}, {name}" for name in names for score in scores]
    assert [row["measure"].split(",")[0] for row in rows if row["goal"]] == ["mig", "dci_disentanglement"]
    for score, (first, second, ours) in zip(scores, zip(rows[:6], rows[6:12], rows[12:18], strict=True), strict=True):
        assert ours["peer"] == max(first["ours"], second["ours"]), score
    assert all(row["met"] is (row["ours"] > row["peer"]) for row in rows if row["goal"])


def test_a_ratio_is_of_medians_and_its_spread_of_single_rounds(benchmark_named):
    row = benchmark_named("_measure").compared("x", "s", [1.0, 2.0, 1.0], [4.0, 4.0, 3.0], goal=4)
    assert row["ratio"] == 4
    assert row["spread"] == [2, 4]
    assert row["met"] is True
    row = benchmark_named("_measure").compared("x", "s", [1.0], [2.0], goal=2.5)
    assert row["met"] is False


def test_a_limit_holds_for_the_median(benchmark_named):
    limited = benchmark_named("_measure").limited
    assert limited("x", "s", [1.0, 9.0, 2.0], 2)["met"] is True
    assert limited("x", "s", [1.0, 9.0, 3.0], 2)["met"] is False
    assert limited("x", "s", [1.0])["met"] is None


def test_the_page_keeps_what_was_not_run_again(root, benchmark_named):
    results = benchmark_named("_results_page")
    page = (root / "benchmarks" / "README.md").read_text()
    row = dict.fromkeys(results.COLUMNS) | {"measure": "seven", "unit": "dwarfs", "ours": 7.0}
    machine = {"cores": 2, "cpu": "x", "load_at_start": 0.1}
    run = {"benchmark": "memory", "date": "2026-01-01", "machine": machine, "rows": [row], "versions": {"python": "3"}}
    made = results.with_results(page, [run])
    before, after = results.sections(page), results.sections(made)
    assert list(after) == sorted(before)
    assert {name for name in after if after[name] != before[name]} == {"memory"}
    assert "| seven | dwarfs | 7 | - | - | - | - | - |" in after["memory"]
    assert made.partition("## Notes")[2] == page.partition("## Notes")[2]


def test_nothing_names_the_machine(benchmark_named):
    assert set(benchmark_named("_measure").machine()) == {"cores", "cpu", "memory_gb", "system", "load_at_start"}


def test_damaged_files_are_counted_by_what_became_of_them(benchmark_named, tmp_path):
    """More than this: test_fuzz.py."""
    rows = checked(
        benchmark_named("fuzz").rows(tmp_path, files=6, workers=1, shared=tmp_path / "none"), benchmark_named
    )
    assert [row["ours"] for row in rows[:6]] == [0] * 6
    assert sum(row["ours"] for row in rows if row["measure"].startswith("verdict")) == 6


def test_memory_of_small_series_is_measured(benchmark_named, tmp_path, monkeypatch):
    memory = benchmark_named("memory")
    monkeypatch.setattr(memory, "PIPELINES", dict(list(memory.PIPELINES.items())[:1]))
    rows = checked(memory.rows(tmp_path, counts=(1, 2), slices=3, size=32, rounds=1), benchmark_named)
    assert [row["goal"] for row in rows] == ["<= 1.5", "<= 1.5", "<= 0.01", None]


@pytest.mark.slow
def test_a_small_and_a_large_catalogue_plan_the_same_jobs(benchmark_named, tmp_path):
    planning = benchmark_named("planning_time")
    rows = checked(planning.rows(tmp_path, chunks=3, fractions=2, series=(5, 5000), rounds=1), benchmark_named)
    assert rows[-1]["met"] is True


@pytest.mark.slow
def test_the_main_job_and_its_second_run_are_measured(root, benchmark_named, tmp_path):
    study = yaml.safe_load((root / "config.yaml").read_text())
    study["chunks"], study["fractions"], study["seeds"] = 2, [1.0], [0, 1]
    study["datasets"]["phantom"]["source"] = {"patients": 30, "matrix": 64}
    study["encoder"] = {"resnet": {"depth": 10, "width": 4, "stem": "small"}}
    study["pretraining"] |= {"updates": 6, "batch": 16, "warmup_updates": 1, "interval": 3}
    study["pretraining"]["methods"] = {"from_scratch": {}, "barlow_twins": {"projector": [16, 16]}}
    study["arms"]["finetuned"] |= {"updates": 4, "warmup_updates": 2, "batch": 8, "validate_every": 2}
    study["evaluation"]["resamples"] = 200
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    rows = checked(
        benchmark_named("main_job").rows(tmp_path / "run", configfile=tmp_path / "study.yaml"), benchmark_named
    )
    again = [row for row in rows if row["unit"] == "jobs"]
    assert [row["ours"] for row in again] == [0]


def test_catalogues_of_invented_images_are_counted(benchmark_named, tmp_path):
    tables = benchmark_named("catalogue_table")
    rows = checked(tables.rows(tmp_path, images=600, rounds=1), benchmark_named)
    assert [row["unit"] for row in rows] == ["us CPU/image", "KB/image"] * 2


@pytest.mark.slow
def test_headers_of_copied_slices_are_read_as_pydicom_reads_them(benchmark_named, tmp_path):
    scan = benchmark_named("header_scan")
    rows = checked(scan.rows(tmp_path, files=70, rounds=1, images=tmp_path / "absent"), benchmark_named)
    assert [row["goal"] for row in rows if row["goal"]] == [">= 20 x"] * 4 + ["<= 1"]
    assert rows[-1]["ours"] == 0


def test_a_header_that_is_read_wrongly_is_found(benchmark_named, tmp_path, monkeypatch):
    from scanloom.readers import _dicom_headers

    scan = benchmark_named("header_scan")
    paths = scan.copies(scan.native_slices(scan.phantom(tmp_path / "phantom")), tmp_path / "slices", 3)
    scan.check(paths)
    read = _dicom_headers.read_header
    monkeypatch.setattr(_dicom_headers, "read_header", lambda *a: (read(*a)[0], [read(*a)[1][0] | {"kvp": 1.0}]))
    with pytest.raises(ValueError, match="read_header and pydicom differ in KVP"):
        scan.check(paths)


@pytest.mark.slow
def test_our_cube_is_simpleitks_cube(benchmark_named, tmp_path):
    volumes = benchmark_named("volume_pipeline")
    rows = checked(volumes.rows(tmp_path, count=20, size=64, cube=16, rounds=1), benchmark_named)
    assert [row["goal"] for row in rows if row["goal"]] == [">= 5 x"] * 2
    image = volumes.read_simpleitk(tmp_path / "series")
    cube = volumes.simpleitk_cube(image, 16, whole=True) + 1024
    volumes.check(cube, image, 16)
    with pytest.raises(ValueError, match="our cube is not SimpleITK's"):
        volumes.check(cube[:, ::-1], image, 16)


@pytest.mark.slow
def test_every_transfer_syntax_is_decoded_as_pydicom_does(benchmark_named, tmp_path):
    decoding = benchmark_named("dicom_decode")
    rows = checked(decoding.rows(tmp_path, slices=1, rounds=1), benchmark_named)
    assert [row["goal"] for row in rows if row["goal"]] == [f">= {goal:g} x" for goal in decoding.GOALS.values()]


@pytest.mark.slow
def test_all_ways_from_slices_to_a_shard_make_the_same_pictures(benchmark_named, tmp_path, monkeypatch):
    pipeline = benchmark_named("slice_pipeline")
    monkeypatch.setenv("SCANLOOM_SHARED_DATA", str(tmp_path / "none"))  # made slices
    rows = checked(pipeline.rows(tmp_path, slices=3, copies=1, rounds=1, size=64), benchmark_named)
    assert {row["goal"] for row in rows} >= {">= 7 x", ">= 15 x", ">= 1.8 x"}
    files = pipeline.ct_slices(tmp_path, 1)
    with pytest.raises(ValueError, match="more than half a grey level from the formula's"):
        pipeline.check(pipeline.windows_first(files[0], 64)[None] // 2, {}, files)


def test_planted_copies_are_scored_against_the_usual_hash(benchmark_named, tmp_path):
    leakage = benchmark_named("leakage")
    rows = leakage.rows(tmp_path, each=10, patients=8, images=200, shared=tmp_path / "absent")
    measured = checked(rows, benchmark_named)
    assert [row["unit"] for row in measured] == ["share"] * 7 + ["s", "s CPU", "MB"]

"""Every study of examples/ plans to its report: names, label tables and files fit. Nothing is run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scanloom import dataset_config

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def study_on(example: Path, shared_data: Path) -> dict:
    """The example with its datasets read from the folder of real images; skips where one is absent."""
    study = yaml.safe_load(example.read_text())
    for name, use in study["datasets"].items():
        dataset = dataset_config.load_dataset(name, ROOT / "datasets", dataset_config.DatasetUse(**use))
        folder = shared_data / Path(dataset.source.settings["path"]).name
        if not folder.is_dir():
            pytest.skip(f"the images of {name} are not at {folder}")
        use["source"] = {"local_folder": {"path": str(folder)}}
    return study


def dry_run(study: dict, folder: Path) -> subprocess.CompletedProcess:
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    command += ["--cores", "1", "--configfile", str(folder / "study.yaml"), "--dry-run", "--", "results/report.html"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_plans_to_its_report(example, shared_data, tmp_path):
    study = study_on(example, shared_data)
    done = dry_run(study, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    stats = re.search(r"Job stats:\njob\s+count\n[-\s]+\n(.*?)\ntotal", done.stdout + done.stderr, flags=re.DOTALL)
    counts = {line.split()[0]: int(line.split()[1]) for line in stats.group(1).splitlines()}
    methods, fractions = len(study["pretraining"]["methods"]), len(study["fractions"])
    assert counts["pretrain_encoder"] == methods
    assert counts["finetune_encoder"] == methods * fractions
    assert counts["preprocess_chunk"] == study["chunks"]
    assert counts["build_report"] == 1


def test_example_with_a_misspelt_label_does_not_plan(shared_data, tmp_path):
    study = study_on(EXAMPLES[0], shared_data)
    for task in study["tasks"].values():
        task["label"] += "x"
    done = dry_run(study, tmp_path)
    assert done.returncode != 0
    assert "Did you mean" in done.stdout + done.stderr

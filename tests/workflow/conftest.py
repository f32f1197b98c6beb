"""A whole study, small enough for a test: run once, then looked at from all sides."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from scanloom import plugins

FILES = ["Snakefile", "config.yaml"]
FOLDERS = ["rules", "workflow_scripts", "scanloom", "datasets", "envs", "profiles", "schemas", "report_captions"]


@dataclass
class Workflow:
    """A checkout of its own in which a test may edit, delete and run."""

    folder: Path
    study: dict

    def write_study(self) -> None:
        (self.folder / "study.yaml").write_text(yaml.safe_dump(self.study, sort_keys=False))

    def snakemake(self, *arguments: str, cores: int = 2, check: bool = True) -> subprocess.CompletedProcess:
        """Run Snakemake in the checkout; output as text. Fails with the whole output where `check`."""
        command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", "--cores", str(cores), *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHONPATH")}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert not check or done.returncode == 0, done.stdout[-6000:] + done.stderr[-12000:]
        return done

    def planned(self, *arguments: str, cores: int = 2) -> dict[str, int]:
        """Jobs per rule that a run would execute now, the collecting rule `all` left out."""
        done = self.snakemake("--dry-run", *arguments, cores=cores)
        text = done.stdout + done.stderr
        if "Nothing to be done" in text:
            return {}
        table = re.search(r"Job stats:\njob\s+count\n[-\s]+\n(.*?)\ntotal", text, flags=re.DOTALL).group(1)
        counts = {line.split()[0]: int(line.split()[1]) for line in table.splitlines()}
        counts.pop("all", None)
        return counts

    def planned_jobs(self) -> str:
        """The dry run's whole text: which wildcards each job has."""
        done = self.snakemake("--dry-run")
        return done.stdout + done.stderr


def tiny_study(root: Path) -> dict:
    """The shipped study on a local folder of DICOM files, with a few updates of a small network."""
    study = yaml.safe_load((root / "config.yaml").read_text())
    study["chunks"] = 3
    study["splits"]["assignment"] = "balanced"
    study["datasets"] = {
        "heads": {"steps": [{"hu_window": {"windows": ["brain", "bone"]}}, {"resize": {"size_px": [24, 24]}}]}
    }
    study["corpora"] = {"corpus": {"datasets": ["heads"]}}
    study["tasks"] = {"bleed": {"dataset": "heads", "label": "bleed", "corpus": "corpus"}}
    study["fractions"] = [0.3, 1.0]
    study["seeds"] = [0, 1]
    study["encoder"] = {"resnet": {"depth": 10, "width": 4, "stem": "small"}}
    study["pretraining"] |= {
        "methods": {"from_scratch": {}, "barlow_twins": {"projector": [16, 16]}},
        "updates": 6, "batch": 16, "warmup_updates": 1, "interval": 3,
    }  # fmt: skip
    study["arms"]["finetuned"] |= {
        "updates": 4, "warmup_updates": 2, "batch": 8, "learning_rates": [0.001], "validate_every": 2,
    }  # fmt: skip
    study["evaluation"]["resamples"] = 200
    study["report"] |= {"contact_sheet_cases": 6, "view_cases": 2}
    return study


def checkout(root: Path, folder: Path) -> None:
    """Copy what runs, without anything that earlier runs made."""
    folder.mkdir(exist_ok=True)
    for name in FILES + FOLDERS:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


@pytest.fixture
def fresh_workflow(root, tmp_path) -> Workflow:
    """A checkout in which nothing ran yet, with the tiny study; the test writes datasets/heads.yaml."""
    checkout(root, tmp_path / "checkout")
    workflow = Workflow(tmp_path / "checkout", tiny_study(root))
    workflow.write_study()
    return workflow


@pytest.fixture(scope="session")
def new_workflow(root, tmp_path_factory):
    """A function that makes a checkout of its own with the tiny study, of a dataset `heads` that has yet to be made."""

    def make(name: str) -> Workflow:
        folder = tmp_path_factory.mktemp(name)
        checkout(root, folder)
        return Workflow(folder, tiny_study(root))

    return make


@pytest.fixture(scope="session")
def finished_workflow(root, tmp_path_factory) -> Workflow:
    """A tiny study that ran to its report, on a folder of DICOM files with a label table."""
    folder = tmp_path_factory.mktemp("checkout")
    checkout(root, folder)
    source = plugins.load("sources", "phantom")
    settings = plugins.settings("sources", "phantom", {"patients": 36, "matrix": 64})
    source.fetch(settings, folder / "scans", seed=5)
    dataset = yaml.safe_load((root / "datasets" / "phantom.yaml").read_text())
    dataset |= {"name": "heads", "source": {"local_folder": {"path": "scans/cohort"}}}
    (folder / "datasets" / "heads.yaml").write_text(yaml.safe_dump(dataset))
    workflow = Workflow(folder, tiny_study(root))
    workflow.write_study()
    workflow.snakemake("results/report.html")
    return workflow

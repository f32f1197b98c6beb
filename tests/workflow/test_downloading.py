"""The rule that fetches a dataset: killed and run again it brings the same bytes, and no licence is passed over."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import real_servers
import yaml

from scanloom import plugins

LICENCE = "For research only"


@pytest.fixture
def heads(fresh_workflow, root, tmp_path):
    """The workflow with the dataset `heads`: a zipped phantom on a server that stalls during the first request."""
    source = plugins.load("sources", "phantom")
    cohort = plugins.settings("sources", "phantom", {"patients": 4, "matrix": 32, "bad_files": False})
    made = source.fetch(cohort, tmp_path / "made", seed=5, workers=1).root
    (tmp_path / "served").mkdir()
    packed = shutil.make_archive(str(tmp_path / "served/heads"), "zip", made)
    with open(packed, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with real_servers.web_server(tmp_path / "served") as server:
        file = {"url": server.url("holdonce=30000/heads.zip"), "sha256": sha256, "unpack": True}
        dataset = yaml.safe_load((root / "datasets/phantom.yaml").read_text())
        dataset |= {"name": "heads", "source": {"http": {"files": [file]}}, "licence": LICENCE}
        dataset["licence_acceptance"] = "required"
        (fresh_workflow.folder / "datasets/heads.yaml").write_text(yaml.safe_dump(dataset))
        yield fresh_workflow, server, made


def test_killed_download_goes_on_and_an_accepted_licence_is_needed(heads):
    """One test, because each start of Snakemake takes seconds."""
    workflow, server, made = heads
    target = "private/heads/root.json"
    refused = workflow.snakemake(target, check=False)
    assert refused.returncode != 0
    assert (
        f'write in the study: datasets: {{heads: {{accept_licence: "{LICENCE}"}}}}' in refused.stdout + refused.stderr
    )
    assert not (workflow.folder / "data").exists()

    workflow.study["datasets"]["heads"]["accept_licence"] = LICENCE
    workflow.write_study()
    command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", "--cores", "1", target]
    running = subprocess.Popen(
        command, cwd=workflow.folder, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    part = workflow.folder / "data/heads/partial/archives/heads.zip.part"
    real_servers.wait_until(lambda: part.is_file() and part.stat().st_size == 30_000, running, seconds=120)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (workflow.folder / target).exists()

    workflow.snakemake("--unlock")
    workflow.snakemake(target)
    got = server.requests_for("holdonce=30000/heads.zip")
    assert [entry["status"] for entry in got] == [200, 206]
    assert got[1]["headers"]["Range"] == "bytes=30000-"
    images = workflow.folder / json.loads((workflow.folder / target).read_text())["root"]
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (images, made)
    ]
    assert contents[0] == contents[1]
    assert workflow.planned(target) == {}

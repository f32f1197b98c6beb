"""The rerun table of docs/rerunning.md, executed: for each kind of change, exactly which rules run again."""

import os
import re
import shutil
import subprocess
import time

import pytest


@pytest.fixture
def workflow(finished_workflow):
    """The finished study; edited files and the study are put back afterwards."""
    kept = finished_workflow.folder.parent / "kept"
    shutil.rmtree(kept, ignore_errors=True)
    for name in ("scanloom", "datasets", "report_captions", "workflow_scripts"):
        shutil.copytree(finished_workflow.folder / name, kept / name)
    study = (finished_workflow.folder / "study.yaml").read_text()
    yield finished_workflow
    for name in ("scanloom", "datasets", "report_captions", "workflow_scripts"):
        shutil.rmtree(finished_workflow.folder / name)
        shutil.move(kept / name, finished_workflow.folder / name)
    (finished_workflow.folder / "study.yaml").write_text(study)


def edit(workflow, file, old, new):
    path = workflow.folder / file
    text = path.read_text()
    assert old in text, f"{old!r} is not in {file}"
    path.write_text(text.replace(old, new, 1))


CHUNKS, METHODS, FRACTIONS = 3, 2, 2
AFTER_TRAINING = {"evaluate_task": 1, "explain_task": 1, "build_report": 1}
ALL_TRAINING = {"pretrain_encoder": METHODS, "probe_encoder": METHODS, "finetune_encoder": METHODS * FRACTIONS}
FROM_PREPROCESSING = {
    "preprocess_chunk": CHUNKS, "shard_chunk": CHUNKS, "index_shards": 1, "fingerprint_images": 1,
    "audit_leakage": 1, "sample_contact_sheet": 1, "sample_views": 1,
} | ALL_TRAINING | AFTER_TRAINING  # fmt: skip
FROM_SPLITS = {"split_patients": 1, "list_corpus": 1, "draw_fraction": FRACTIONS} | FROM_PREPROCESSING
FROM_SPLITS.pop("preprocess_chunk")  # images are made of all series, whatever their split
FROM_CATALOGUE = {"catalogue_dataset": 1, "preprocess_chunk": CHUNKS} | FROM_SPLITS


def test_nothing_changed_runs_nothing(workflow):
    assert workflow.planned() == {}


def test_more_cores_run_nothing(workflow):
    assert workflow.planned(cores=8) == {}


def test_comment_in_a_library_file_runs_nothing(workflow):
    path = workflow.folder / "scanloom/training/training_loop.py"
    path.write_text(path.read_text() + "\n# A remark.\n")
    assert workflow.planned() == {}


def test_touched_files_run_nothing(workflow):
    for folder in ("scanloom", "workflow_scripts", "datasets", "envs", "rules"):
        for path in (workflow.folder / folder).rglob("*.*"):
            os.utime(path)
    assert workflow.planned() == {}


def test_git_checkout_away_and_back_runs_nothing(workflow):
    def git(*arguments):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=workflow.folder, check=True, capture_output=True)

    git("init")
    git("add", "scanloom", "workflow_scripts", "rules", "Snakefile")
    git("commit", "-m", "as is")
    git("checkout", "-b", "other")
    edit(workflow, "scanloom/training/training_loop.py", "import", "import sys\nimport")
    edit(workflow, "workflow_scripts/preprocess_chunk.py", "import", "import sys\nimport")
    git("commit", "-am", "edited")
    time.sleep(1.1)  # so that the files' times differ by more than a file system's resolution
    git("checkout", "-")
    shutil.rmtree(workflow.folder / ".git")
    assert workflow.planned() == {}


def test_method_file_reruns_its_own_arms_only(workflow):
    edit(workflow, "scanloom/methods/barlow_twins.py", "def build(", "REMARK = 1\n\n\ndef build(")
    assert (
        workflow.planned()
        == {"pretrain_encoder": 1, "probe_encoder": 1, "finetune_encoder": FRACTIONS} | AFTER_TRAINING
    )
    jobs = re.findall(r"method=(\w+)", workflow.planned_jobs())
    assert set(jobs) == {"barlow_twins"}


def test_window_reruns_from_preprocessing_on(workflow):
    workflow.study["datasets"]["heads"]["steps"][0] = {"hu_window": {"windows": ["brain", "stroke"]}}
    workflow.write_study()
    try:
        assert workflow.planned() == FROM_PREPROCESSING
    finally:
        workflow.study["datasets"]["heads"]["steps"][0] = {"hu_window": {"windows": ["brain", "bone"]}}


def test_meaning_of_labels_reruns_from_the_splits_on(workflow):
    edit(workflow, "datasets/heads.yaml", "- no bleed", "- none seen")
    assert workflow.planned() == FROM_SPLITS


def test_place_of_labels_reruns_from_the_catalogue_on(workflow):
    edit(workflow, "datasets/heads.yaml", "table: labels.csv", "table: ./labels.csv")
    assert workflow.planned() == FROM_CATALOGUE


def test_salt_reruns_from_the_catalogue_on(workflow):
    before = workflow.study["salt"]
    workflow.study["salt"] = "another"
    workflow.write_study()
    try:
        assert workflow.planned() == FROM_CATALOGUE
    finally:
        workflow.study["salt"] = before


def test_new_method_runs_its_own_arms(workflow):
    workflow.study["pretraining"]["methods"]["simsiam"] = {}
    workflow.write_study()
    try:
        arms = {"pretrain_encoder": 1, "probe_encoder": 1, "finetune_encoder": FRACTIONS}
        assert workflow.planned() == arms | {"evaluate_task": 1, "build_report": 1}
        assert set(re.findall(r"method=(\w+)", workflow.planned_jobs())) == {"simsiam"}
    finally:
        workflow.study["pretraining"]["methods"].pop("simsiam")


def test_new_fraction_runs_its_own_arms(workflow):
    workflow.study["fractions"] = [0.3, 0.6, 1.0]
    workflow.write_study()
    try:
        arms = {"draw_fraction": 1, "finetune_encoder": METHODS, "probe_encoder": METHODS}
        assert workflow.planned() == arms | {"evaluate_task": 1, "build_report": 1}
    finally:
        workflow.study["fractions"] = [0.3, 1.0]


def test_evaluation_setting_trains_nothing(workflow):
    workflow.study["evaluation"]["resamples"] = 300
    workflow.write_study()
    try:
        assert workflow.planned() == {"evaluate_task": 1, "build_report": 1}
    finally:
        workflow.study["evaluation"]["resamples"] = 200


def test_another_study_in_the_same_folder_makes_its_own_report(workflow):
    """results/report.html has one name for all studies: it must not be taken for another study's."""
    workflow.study["tasks"] = {"haemorrhage": workflow.study["tasks"]["bleed"]}
    workflow.write_study()
    try:
        planned = workflow.planned()
        assert planned["build_report"] == 1
        assert planned["evaluate_task"] == 1
        assert "pretrain_encoder" not in planned
    finally:
        workflow.study["tasks"] = {"bleed": workflow.study["tasks"]["haemorrhage"]}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scanloom/report/style.css", "}", "}\n.x { color: red; }"),
        ("scanloom/report/figure_style.py", "#", "#1"),
        ("datasets/heads.yaml", "title: ", "title: Another "),
    ],
    ids=["style", "colour", "title of a dataset"],
)
def test_looks_rerun_the_report_only(workflow, file, old, new):
    if file.endswith("figure_style.py"):
        path = workflow.folder / file
        path.write_text(re.sub(r'"#[0-9A-Fa-f]{6}"', '"#123456"', path.read_text(), count=1))
    else:
        edit(workflow, file, old, new)
    assert workflow.planned() == {"build_report": 1}


def test_new_scan_reruns_one_chunk(workflow):
    """A second look at a known patient: `rescan` reads the headers again, then only its chunk is prepared anew."""
    scans = workflow.folder / "scans/cohort"
    new = add_series_of_a_known_patient(scans)
    try:
        workflow.snakemake("--forcerun", "download_dataset", "--", "rescan")
        planned = workflow.planned()
        assert planned["preprocess_chunk"] == 1
        assert planned["shard_chunk"] == 1
        assert "catalogue_dataset" not in planned
        assert planned["pretrain_encoder"] == METHODS, "new training images"
    finally:
        for path in new:
            path.unlink()
        workflow.snakemake("--forcerun", "download_dataset", "--", "rescan")
    assert workflow.planned() == {}, "taking the scan away again restores every input"


def add_series_of_a_known_patient(scans):
    """Copies of one good series under new UIDs; returns the new files. They carry no labels."""
    import pydicom

    series = {}
    for path in sorted(scans.rglob("*.dcm")):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        if header.get("Modality") == "CT" and "LOCALIZER" not in header.get("ImageType", []):
            series.setdefault(header.SeriesInstanceUID, []).append(path)
    new = []
    for number, path in enumerate(max(series.values(), key=len)):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = dataset.SeriesInstanceUID + ".77"
        dataset.SOPInstanceUID = dataset.SOPInstanceUID + ".77"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        new.append(scans / f"new-{number}.dcm")
        dataset.save_as(new[-1])
    return new

"""What a finished study has left behind: balanced books, reproducible shards, reusable runs, no identifiers."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile

import pandas as pd
import pydicom
import pytest
import yaml

from scanloom import plugins


def digests(folder, pattern):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.glob(pattern)
        if p.is_file()
    }


def identifiers(scans) -> set[bytes]:
    """Every name, id and date in the headers of the DICOM files."""
    planted = set()
    for path in scans.rglob("*.dcm"):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError:
            continue
        keywords = (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "StudyDate",
            "StudyInstanceUID",
            "SeriesInstanceUID",
        )
        planted |= {str(header.get(keyword, "")) for keyword in keywords}
    return {value.encode() for value in planted if len(value) >= 6}


def test_books_balance_to_the_file(finished_workflow):
    books = json.loads((finished_workflow.folder / "results/heads/books.json").read_text())
    files = sum(1 for path in (finished_workflow.folder / "scans/cohort").rglob("*") if path.is_file())
    assert books["found"] == files == books["used"] + books["excluded"]
    assert sum(books["reasons"].values()) == books["excluded"] > 0


def test_corpus_holds_no_validation_or_test_patient(finished_workflow):
    results = finished_workflow.folder / "results"
    splits = pd.read_parquet(results / "heads/splits.parquet").set_index("patient_id")["split"]
    corpus = pd.read_parquet(results / "corpus/patients.parquet")
    assert set(splits[corpus.patient_id]) == {"train"}


def test_labelled_patients_are_nested_training_patients(finished_workflow):
    results = finished_workflow.folder / "results"
    splits = pd.read_parquet(results / "heads/splits.parquet").set_index("patient_id")["split"]
    few, all_ = (pd.read_parquet(results / f"bleed/fractions/{f}.parquet") for f in ("0.3", "1"))
    for seed in (0, 1):
        small = set(few.patient_id[few.seed == seed])
        assert small < set(all_.patient_id[all_.seed == seed])
        assert set(splits[sorted(small)]) == {"train"}


def test_every_arm_predicts_the_same_test_images(finished_workflow):
    tables = [pd.read_parquet(p) for p in (finished_workflow.folder / "results/bleed/predictions").rglob("*.parquet")]
    predictions = pd.concat(tables)
    items = (
        predictions[predictions.split == "test"].groupby(["method", "schedule", "fraction", "seed"]).item_id.apply(set)
    )
    assert len(items) == 2 * (2 + 2) * 2, "methods x (frozen + finetuned at two fractions) x seeds"
    assert all(s == items.iloc[0] for s in items)


def test_report_is_one_small_file_without_network(finished_workflow):
    page = (finished_workflow.folder / "results/report.html").read_text()
    assert len(page) < 10e6
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert "from_scratch" in page


def test_no_identifier_of_the_input_leaves(finished_workflow):
    """Every name, id and date in the DICOM headers, searched in every result and log (promise 8)."""
    planted = identifiers(finished_workflow.folder / "scans/cohort")
    assert len(planted) > 100
    names = {path.name.encode() for path in (finished_workflow.folder / "scans/cohort").rglob("*.dcm")}
    for folder in ("results", "logs"):
        for path in (finished_workflow.folder / folder).rglob("*"):
            if path.is_file():
                content = path.read_bytes() + str(path.relative_to(finished_workflow.folder)).encode()
                found = [value for value in planted | names if value in content]
                assert not found, f"{path} holds {found[:3]}"


WITHOUT_TENSORFLOW = [
    "download_dataset",
    "catalogue_dataset",
    "split_patients",
    "preprocess_chunk",
    "shard_chunk",
    "index_shards",
    "fingerprint_images",
    "audit_leakage",
    "refuse_leakage",
    "sample_contact_sheet",
    "list_corpus",
    "draw_fraction",
    "evaluate_task",
    "build_report",
]


@pytest.mark.parametrize("script", WITHOUT_TENSORFLOW)
def test_steps_that_do_not_train_do_not_import_tensorflow(root, script):
    """`import tensorflow` costs about ten CPU seconds a job."""
    modules = [f"workflow_scripts.{script}"]
    modules += [f"scanloom.{k}.{n}" for k in ("sources", "readers", "steps", "metrics") for n in plugins.names(k)]
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "print(sorted({'tensorflow', 'keras', 'jax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_deleted_results_come_back_without_training(finished_workflow):
    """Runs survive `rm -rf results`: shards come back to the same bytes, so every training is found again."""
    folder = finished_workflow.folder
    shards = digests(folder, "results/heads/shards/*")
    encoders = digests(folder, "results/corpus/pretrained/*/encoder.keras")
    runs = digests(folder, "runs/*/*")
    shutil.rmtree(folder / "results")
    finished_workflow.snakemake("results/report.html")
    assert digests(folder, "results/heads/shards/*") == shards
    assert digests(folder, "results/corpus/pretrained/*/encoder.keras") == encoders
    assert digests(folder, "runs/*/*") == runs, "no run was trained again"


def test_provenance_archive(finished_workflow):
    """`snakemake --report` works beside the page, and tells neither the salt nor an identifier."""
    finished_workflow.snakemake("--report", "results/provenance.zip")
    secrets = identifiers(finished_workflow.folder / "scans/cohort") | {finished_workflow.study["salt"].encode()}
    with zipfile.ZipFile(finished_workflow.folder / "results/provenance.zip") as archive:
        assert any(name.endswith("report.html") for name in archive.namelist())
        for name in archive.namelist():
            content = archive.read(name)
            assert not [secret for secret in secrets if secret in content], name


@pytest.mark.parametrize("change", ["key", "method", "twice"])
def test_mistake_in_the_study_stops_before_the_first_job(finished_workflow, change):
    study, more = dict(finished_workflow.study), ""
    if change == "key":
        study["fractoins"] = study.pop("fractions")
        expected = "unknown key 'fractoins'. Did you mean 'fractions'?"
    elif change == "twice":
        more, expected = "seed: 11\n", "key 'seed' stands there twice"
    else:
        methods = {"from_scratch": {}, "barlow_twinz": {}}
        study["pretraining"] = study["pretraining"] | {"methods": methods}
        expected = "Did you mean 'barlow_twins'?"
    (finished_workflow.folder / "study.yaml").write_text(yaml.safe_dump(study) + more)
    try:
        done = finished_workflow.snakemake("results/report.html", check=False)
    finally:
        finished_workflow.write_study()
    assert done.returncode != 0
    assert expected in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr

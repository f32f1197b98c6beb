"""`leakage: {strict: true}` lets nothing be learnt while a copy leaks, says how to go on, and that way works."""

import re

import pandas as pd
import pydicom
import yaml

from scanloom import plugins

CORPUS = "results/corpus/patients.parquet"


def used_slices(workflow) -> pd.DataFrame:
    """Private image rows of all used series, with their split."""
    rows = pd.concat(
        [pd.read_parquet(path) for path in sorted((workflow.folder / "private/heads/chunks").glob("*.parquet"))]
    )
    splits = pd.read_parquet(workflow.folder / "results/heads/splits.parquet").set_index("patient_id")["split"]
    return rows.assign(split=rows.patient_id.map(splits)).sort_values(["series_id", "slice_index"])


def test_a_strict_study_stops_before_training_until_the_copy_is_excluded(root, new_workflow):
    workflow = new_workflow("strict")
    source = plugins.load("sources", "phantom")
    settings = plugins.settings(
        "sources", "phantom", {"patients": 24, "matrix": 64, "slices_per_series": 4, "bad_files": False}
    )
    cohort = source.fetch(settings, workflow.folder / "scans", seed=5).root
    dataset = yaml.safe_load((root / "datasets/phantom.yaml").read_text())
    dataset |= {"name": "heads", "source": {"local_folder": {"path": "scans/cohort"}}, "expected": {}}
    dataset |= {"stratify": ["bleed"]}
    file = workflow.folder / "datasets/heads.yaml"
    file.write_text(yaml.safe_dump(dataset))
    workflow.study["leakage"] = {"strict": True}
    workflow.write_study()
    workflow.snakemake("rescan")

    slices = used_slices(workflow)
    learnt, measured = (slices[slices.split == split].iloc[1] for split in ("train", "test"))
    original, copy = (pydicom.dcmread(cohort / row.path) for row in (learnt, measured))
    copy.PixelData = original.PixelData
    for keyword in ("RescaleSlope", "RescaleIntercept", "PixelRepresentation", "PixelPaddingValue"):
        setattr(copy, keyword, getattr(original, keyword))
    copy.save_as(cohort / measured.path)

    done = workflow.snakemake("--forcerun", "download_dataset", "--", CORPUS, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "copies leak from what is learnt to what is measured (pairs: 1)" in said
    assert f"{learnt.series_id}-{learnt.slice_index:04d} (heads, train)" in said
    assert not (workflow.folder / CORPUS).exists()
    [pair] = pd.read_parquet(workflow.folder / "results/leakage.parquet").query("leaks_into != ''").to_dict("records")
    assert (pair["kind"], pair["leaks_into"]) == ("pixels", "bleed")

    remedy = re.search(r"^\s*(exclude: .*)$", said, flags=re.MULTILINE).group(1)
    file.write_text(yaml.safe_dump(dataset | yaml.safe_load(remedy)))
    workflow.snakemake(CORPUS)
    assert (workflow.folder / CORPUS).exists()
    books = yaml.safe_load((workflow.folder / "results/heads/books.json").read_text())
    assert books["reasons"]["copy of another image"] == 4, "the series of the copy"

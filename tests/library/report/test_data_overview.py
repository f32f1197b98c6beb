"""Tables of the data section that only some data sets have: findings of a multilabel group, agreement of readers."""

import numpy as np
import pandas as pd
import report_study

from scanloom.labelling import consensus
from scanloom.report.section import Table
from scanloom.report.sections import data_overview
from scanloom.report.study_tables import StudyTables


def tables_with(tmp_path, agreement: pd.DataFrame | None, multilabel: dict) -> dict[str, Table]:
    """Tables of the data section of the small study, by title; its images show edema, do not, or nobody knows."""
    study = report_study.build(tmp_path)
    files = dict(study._files)
    for name in [name for name in files if name.startswith("phantom/images/")]:
        images = pd.read_parquet(files[name])
        edema = np.resize([1.0, 0.0, np.nan], len(images))
        images.assign(edema=edema).to_parquet(files[name], index=False)
    if agreement is not None:
        files["phantom/reader_agreement.parquet"] = tmp_path / "reader_agreement.parquet"
        agreement.to_parquet(files["phantom/reader_agreement.parquet"], index=False)
    datasets = report_study.datasets()
    datasets["phantom"]["labels"]["multilabel"] = multilabel
    datasets["phantom"]["labels"]["columns"]["edema"] = {"kind": "binary", "classes": ["no edema", "edema"]}
    section = data_overview.build(StudyTables(files, report_study.config(), datasets))
    return {block.title: block for block in section.blocks if isinstance(block, Table)}


def test_findings_are_one_row_each_and_count_every_image(tmp_path):
    found = tables_with(tmp_path, None, {"findings": {"columns": {"edema": "Edema"}}})
    [row] = found["Findings: images with it, without it, and without a label"].rows
    counts = [int(n.replace(",", "")) for cell in row[2:] for n in cell.split(" / ")]
    images = report_study.build(tmp_path / "again").images("phantom")
    assert row[0] == "Edema"
    assert sum(counts) == len(images)
    classes = found["Patients and images per class, split and site"]
    assert {row[0] for row in classes.rows} == {"Bleed"}, "findings have their own table"


def test_agreement_of_readers_is_shown_where_there_are_several(tmp_path):
    reads = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1]] * 5, float)
    agreement = consensus.agreement_table({"bleed": (reads, 2)})
    [row] = tables_with(tmp_path, agreement, {})["Agreement of readers"].rows
    assert row[:7] == ("Bleed", "20", "15 / 10 / 5", "15", "10", "5", "10")
    # By hand: P = (1 + 1/3 + 1/3 + 1) / 4 = 2/3, P_e = 1/2, kappa = 1/3.
    assert row[7].startswith("0.333 (")
    empty = consensus.agreement_table({})
    assert "Agreement of readers" not in tables_with(tmp_path / "none", empty, {})

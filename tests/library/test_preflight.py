"""Mistakes that are found before the first job, each as one clear message."""

import csv

import pytest
import yaml

from scanloom import config, preflight


@pytest.fixture
def study_and_dataset(root, tmp_path):
    """A study on a local folder of pictures with a label table; edit `rows` and `dataset`, then call `check`."""
    images = tmp_path / "images"
    images.mkdir()
    study = yaml.safe_load((root / "config.yaml").read_text())
    study["datasets"] = {"lesions": {"steps": [{"min_max": {}}, {"resize": {"size_px": [32, 32]}}]}}
    study["corpora"]["heads"]["datasets"] = ["lesions"]
    study["tasks"] = {"malignant": {"dataset": "lesions", "label": "malignant", "corpus": "heads"}}
    study["pretraining"]["methods"] = {"from_scratch": {}, "barlow_twins": {}}
    dataset = {
        "name": "lesions",
        "title": "Lesions",
        "licence": "CC0",
        "source": {"local_folder": {"path": str(images)}},
        "reader": {"image_files": {}},
        "group": "lesion",
        "official_split": "split",
        "labels": {
            "table": "labels.csv",
            "join": "path",
            "key": "file",
            "columns": {"malignant": {"kind": "binary", "classes": ["no", "yes"]}},
        },
    }
    rows = [
        {"file": f"{i}.png", "lesion": f"L{i // 2}", "malignant": str(i // 2 % 2), "split": "train"} for i in range(24)
    ]

    def check():
        if rows:
            with open(images / "labels.csv", "w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        (tmp_path / "lesions.yaml").write_text(yaml.safe_dump(dataset))
        preflight.check(config.study_from(study), {"lesions": config.load_dataset("lesions", tmp_path)})

    return study, dataset, rows, check


def message(check):
    with pytest.raises(config.ConfigError) as error:
        check()
    return str(error.value)


def test_good_study_passes(study_and_dataset):
    *_, check = study_and_dataset
    check()


def test_missing_folder(study_and_dataset, tmp_path):
    _, dataset, _, check = study_and_dataset
    dataset["source"] = {"local_folder": {"path": str(tmp_path / "nowhere")}}
    assert str(tmp_path / "nowhere") in message(check)


def test_missing_label_table(study_and_dataset):
    _, dataset, _, check = study_and_dataset
    dataset["labels"]["table"] = "lables.csv"
    assert "lables.csv not found" in message(check)


def test_absent_label_column(study_and_dataset):
    _, _, rows, check = study_and_dataset
    for row in rows:
        row["malignancy"] = row.pop("malignant")
    text = message(check)
    assert "no column 'malignant'" in text
    assert "Did you mean 'malignancy'?" in text


def test_undeclared_task_label(study_and_dataset):
    study, _, _, check = study_and_dataset
    study["tasks"]["malignant"]["label"] = "malignat"
    assert "declares no label 'malignat'. Known: malignant. Did you mean 'malignant'?" in message(check)


def test_patient_in_two_splits(study_and_dataset):
    _, _, rows, check = study_and_dataset
    rows[5]["split"] = "test"
    text = message(check)
    assert "row 7 is in two splits, 'train' and 'test'" in text
    assert "L2" not in text, "identifiers stay out of messages"


def test_empty_class(study_and_dataset):
    _, _, rows, check = study_and_dataset
    for row in rows:
        row["malignant"] = "0"
    assert "class 'yes' of 'malignant' has 0 lesions" in message(check)


def test_value_that_is_no_class(study_and_dataset):
    _, _, rows, check = study_and_dataset
    rows[3]["malignant"] = "maybe"
    assert "holds 'maybe', which is no class" in message(check)


def test_method_that_uses_an_unknown_label(study_and_dataset):
    study, _, _, check = study_and_dataset
    study["pretraining"]["methods"]["supervised"] = {"label": "malignat"}
    assert "corpus 'heads' has no label 'malignat'" in message(check)

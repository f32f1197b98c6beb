"""Mistakes that are found before the first job, each as one clear message."""

import csv

import pytest
import yaml

from scanloom import config, dataset_config, preflight
from scanloom.strict_models import ConfigError


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
        preflight.check(config.study_from(study), {"lesions": dataset_config.load_dataset("lesions", tmp_path)})

    return study, dataset, rows, check


def message(check):
    with pytest.raises(ConfigError) as error:
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
    assert "label column 'malignant': 'maybe' is no class of ['no', 'yes']" in message(check)


def test_method_that_uses_an_unknown_label(study_and_dataset):
    study, _, _, check = study_and_dataset
    study["pretraining"]["methods"]["supervised"] = {"label": "malignat"}
    assert "corpus 'heads' has no label 'malignat'" in message(check)


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ({"flip": {"axes": [-1, -2]}}, "a half turn"),
        ({"rotation": {"degrees": 180}}, "turn images far"),
        ({"rotation": {"quarter_turns": 0.5}}, "turn images far"),
        ({"quarter_turns": {}}, "turn images far"),
        ({"affine": {"degrees": 90}}, "turn images far"),
        ({"rotation": {"degrees": 30}, "affine": {"degrees": 30}}, "turn images far"),
    ],
)
def test_rotation_of_views_that_turn_images_themselves(study_and_dataset, view, said):
    study, _, _, check = study_and_dataset
    study["views"] = [{"gaussian_noise": {}}, *({name: chosen} for name, chosen in view.items())]
    study["pretraining"]["methods"]["rotation"] = {}
    assert said in message(check)
    study["pretraining"]["methods"]["rotation"] = {"use_views": False}
    check()


def test_folder_of_another_layout(study_and_dataset):
    _, dataset, _, check = study_and_dataset
    dataset |= {"layout": ["labels.csv", "images_001"], "how_to_get": "Register there."}
    text = message(check)
    assert "missing images_001; there is labels.csv; found 1 .csv" in text
    assert text.endswith("Register there.")


def test_absent_folder_says_how_to_get_it(study_and_dataset, tmp_path):
    _, dataset, _, check = study_and_dataset
    dataset |= {"source": {"local_folder": {"path": str(tmp_path / "nowhere")}}, "how_to_get": "Register there."}
    assert message(check).endswith("How to get it: Register there.")


def test_ordinal_task_is_refused_with_what_is_possible(study_and_dataset):
    study, dataset, rows, check = study_and_dataset
    dataset["labels"]["columns"]["grade"] = {"kind": "ordinal", "classes": ["0", "1", "2"]}
    for number, row in enumerate(rows):
        row["grade"] = str(number % 3)
    check()
    study["tasks"]["malignant"]["label"] = "grade"
    text = message(check)
    assert "'grade' is ordinal, and there is no ordinal head yet" in text
    assert "that a task can use: malignant" in text


def test_multilabel_task_is_refused_but_each_finding_is_a_task(study_and_dataset):
    study, dataset, rows, check = study_and_dataset
    dataset["labels"]["multilabel"] = {"findings": {"columns": {"edema": "Edema", "mass": "Mass"}, "blank": 0}}
    for number, row in enumerate(rows):
        row |= {"Edema": "1" if number < 8 else "", "Mass": str(number % 2)}
    study["tasks"]["malignant"]["label"] = "findings"
    assert "can be a binary task now: edema, mass" in message(check)
    study["tasks"]["malignant"]["label"] = "edema"
    check()
    study["pretraining"]["methods"]["supervised"] = {"label": "findings"}
    assert "pretraining.methods.supervised.label: 'findings' is multilabel" in message(check)


def test_segmentation_task_is_refused(study_and_dataset):
    study, dataset, rows, check = study_and_dataset
    dataset["masks"] = {"table_column": "mask", "classes": {"tumour": 1}}
    for row in rows:
        row["mask"] = ""
    study["tasks"]["malignant"]["label"] = "tumour"
    assert "'tumour' would be segmentation, and there is no decoder for masks yet" in message(check)


def test_absent_column_of_a_reader(study_and_dataset):
    _, dataset, rows, check = study_and_dataset
    for row in rows:
        row["reader_1"] = row["malignant"]
    label = {"kind": "binary", "classes": ["no", "yes"], "readers": ["reader_1", "reader_2"]}
    dataset["labels"]["columns"]["malignant"] = label
    assert "no column 'reader_2' in labels.csv" in message(check)


def test_official_split_from_lists(study_and_dataset, tmp_path):
    _, dataset, rows, check = study_and_dataset
    dataset["labels"]["lists"] = {"listed": {"train": "train.txt", "test": "test.txt"}}
    dataset["official_split"] = "listed"
    names = [row["file"] for row in rows]
    (tmp_path / "images" / "train.txt").write_text("\n".join(names[:16]))
    (tmp_path / "images" / "test.txt").write_text("\n".join(names[16:]))
    check()
    (tmp_path / "images" / "train.txt").write_text("\n".join(names[:15]))
    (tmp_path / "images" / "test.txt").write_text("\n".join(names[15:]))
    assert "is in two splits, 'train' and 'test'; a patient belongs to one (1 such lesions" in message(check)


def test_masks_cannot_follow_a_step_that_cuts_by_the_image(study_and_dataset):
    study, dataset, _, check = study_and_dataset
    study["datasets"]["lesions"]["steps"].insert(0, {"crop_to_foreground": {}})
    check()
    dataset["masks"] = {"table_column": "file"}
    assert "crop_to_foreground cuts by what an image shows, and the masks of 'lesions' could not follow" in message(
        check
    )


@pytest.mark.parametrize("how", [{"by": "site"}, {"external_test_site": "B"}, {"external_test_site": {"lesions": "B"}}])
def test_a_draw_by_sites_contradicts_official_splits(study_and_dataset, how):
    study, dataset, _, check = study_and_dataset
    study["splits"] |= how
    assert "dataset 'lesions' has official splits (column 'split')" in message(check)
    del dataset["official_split"]
    check()

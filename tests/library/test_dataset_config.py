"""Dataset files, and studies that change single keys of one without touching it."""

import pytest

from scanloom import dataset_config
from scanloom.strict_models import ConfigError


def loaded(root, name, **use):
    return dataset_config.load_dataset(name, root / "datasets", dataset_config.DatasetUse(steps=["min_max"], **use))


def test_a_setting_of_the_source_is_replaced_and_the_rest_stays(root):
    source = loaded(root, "ham10000", source={"path": "/elsewhere"}).source
    assert (source.name, source.settings["path"]) == ("local_folder", "/elsewhere")
    source = loaded(root, "pneumoniamnist", source={"retries": 3}).source
    assert source.settings["retries"] == 3
    assert source.settings["files"][0]["md5"] == "28209eda62fecd6e6a2d98b1501bb15f"


def test_another_source_takes_the_place_of_the_files_own(root):
    source = loaded(root, "pneumoniamnist", source={"local_folder": {"path": "here"}}).source
    assert (source.name, source.settings) == ("local_folder", {"path": "here"})


def test_one_word_changes_the_policy_for_uncertain_findings(root):
    before = loaded(root, "chexpert").labels
    after = loaded(root, "chexpert", labels={"multilabel": {"findings": {"uncertain_as": "one"}}}).labels
    assert {label.uncertain_as for label in before.columns.values()} == {"ignore"}
    assert {label.uncertain_as for label in after.columns.values()} == {"one"}
    assert list(after.columns) == list(before.columns)
    assert after.lists == before.lists
    assert after.extract == before.extract


def test_a_volume_is_to_be_a_box_and_slices_stay_as_they_are_unless_said_otherwise(root):
    def reader(rank, **settings):
        use = dataset_config.DatasetUse(steps=["min_max"], reader=settings)
        loaded = dataset_config.load_dataset("cq500", root / "datasets", use, rank).reader.settings
        return loaded["gantry_tilt"], loaded["unequal_spacing"]

    assert reader(2) == ("keep", "keep")
    assert reader(3) == ("correct", "resample")
    assert reader(3, gantry_tilt="exclude") == ("exclude", "resample")
    assert reader(3, gantry_tilt="keep", unequal_spacing="keep") == ("keep", "keep")


def test_a_wrong_override_is_an_error_that_names_the_key(root):
    with pytest.raises(ConfigError, match=r"unknown key 'labels.multilabel.findings.uncertain_az'"):
        loaded(root, "chexpert", labels={"multilabel": {"findings": {"uncertain_az": "one"}}})
    with pytest.raises(ConfigError, match="paht"):
        loaded(root, "ham10000", source={"paht": "/elsewhere"})


def test_a_key_that_stands_twice_is_an_error(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\ntitle: one\nsource: {phantom: {}}\ntitle: two\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: not valid YAML: .*key 'title' stands there twice"):
        dataset_config.load_dataset("mine", tmp_path)


def test_keys_that_are_merged_in_may_be_replaced(tmp_path, root):
    text = (root / "datasets" / "phantom.yaml").read_text()
    assert "expected: {series: 300, patients: 240, images: 3000}" in text
    text = text.replace("expected: {series: 300,", "expected: {<<: {series: 1, files: 7}, series: 300,")
    (tmp_path / "phantom.yaml").write_text(text)
    loaded = dataset_config.load_dataset("phantom", tmp_path)
    assert loaded.expected == {"files": 7, "series": 300, "patients": 240, "images": 3000}


def test_missing_dataset_file_names_the_known_ones(root):
    with pytest.raises(ConfigError, match=r"no dataset 'phantm'.*Did you mean 'phantom'"):
        dataset_config.load_dataset("phantm", root / "datasets")


def test_every_dataset_file_is_valid(root):
    for path in (root / "datasets").glob("*.yaml"):
        assert dataset_config.load_dataset(path.stem, root / "datasets").name == path.stem

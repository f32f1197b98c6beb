"""Study and dataset files: defaults, and one clear message for each kind of mistake."""

import copy

import pytest
import yaml

from scanloom import config, planning
from scanloom.strict_models import ConfigError


@pytest.fixture
def values(root):
    return yaml.safe_load((root / "config.yaml").read_text())


def message(values):
    with pytest.raises(ConfigError) as error:
        config.study_from(values, where="config.yaml")
    return str(error.value)


def test_shipped_study_is_valid(values):
    study = config.study_from(values)
    assert planning.fraction_names(study) == ["0.01", "0.1", "1"]


def test_checking_a_checked_study_changes_nothing(values):
    dumped = config.study_from(values).model_dump(mode="json")
    assert config.study_from(copy.deepcopy(dumped)).model_dump(mode="json") == dumped


def test_unknown_key_is_an_error_with_a_suggestion(values):
    values["fractoins"] = values.pop("fractions")
    assert "unknown key 'fractoins'. Did you mean 'fractions'?" in message(values)


def test_unknown_nested_key_is_an_error_with_a_suggestion(values):
    values["arms"]["finetuned"]["bacth"] = 3
    assert "unknown key 'arms.finetuned.bacth'. Did you mean 'batch'?" in message(values)


def test_a_misspelt_key_is_not_suggested_for_itself(values):
    values["fraction"] = values.pop("fractions")  # `fraction` is a key elsewhere
    assert "unknown key 'fraction'. Did you mean 'fractions'?" in message(values)


def test_keys_that_do_not_fit_each_other_are_named_without_all_that_is_right(values):
    values["corpora"]["heads"]["datasets"] = ["phantm"]
    assert "no 'phantm' in datasets. Did you mean 'phantom'?" in message(values)
    assert len(message(values)) < 200


def test_what_yaml_takes_for_true_and_false_is_to_be_put_in_quotes(values):
    values["report"]["title"] = True
    assert "put them in quotes" in message(values)


def test_the_method_shown_is_the_first_where_the_default_is_not_there(values):
    values["pretraining"]["methods"] = {"from_scratch": {}, "vicreg": {}}
    values["explanation"].pop("compare", None)
    values["studies"] = {}
    assert config.study_from(values).explanation.compare == "vicreg"
    values["explanation"]["compare"] = "simclr"
    assert "explanation.compare: no 'simclr'" in message(values)


def test_unknown_method_is_an_error_with_a_suggestion(values):
    values["pretraining"]["methods"]["barlow_twin"] = {}
    text = message(values)
    assert "no method 'barlow_twin'" in text
    assert "Did you mean 'barlow_twins'?" in text


def test_unknown_setting_of_a_step_is_an_error(values):
    values["datasets"]["phantom"]["steps"][0] = {"hu_window": {"windoows": ["brain"]}}
    assert "unknown key 'windoows'. Did you mean 'windows'?" in message(values)


@pytest.mark.parametrize("fraction", [0, 1.5, -0.1])
def test_impossible_fraction_is_an_error(values, fraction):
    values["fractions"] = [0.1, fraction]
    assert f"impossible fraction {float(fraction)}" in message(values)


def test_missing_baseline_is_an_error(values):
    del values["pretraining"]["methods"]["from_scratch"]
    assert "from_scratch is missing" in message(values)


def test_task_on_unknown_dataset_is_an_error(values):
    values["tasks"]["bleed"]["dataset"] = "phantoms"
    assert "tasks.bleed.dataset: no 'phantoms' in datasets. Did you mean 'phantom'?" in message(values)


def test_splits_must_leave_training_patients(values):
    values["splits"] = {"validation": 0.5, "test": 0.5}
    assert "leave no training patients" in message(values)


def test_test_sites_name_known_datasets_and_exclude_splits_by_site(values):
    values["splits"] |= {"external_test_site": {"hearts": "A"}}
    assert "splits.external_test_site: no 'hearts' in datasets" in message(values)
    values["splits"] |= {"external_test_site": "A", "by": "site"}
    assert "choose" in message(values)

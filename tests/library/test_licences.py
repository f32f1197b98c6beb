"""A licence that must be accepted stops the study before the first job, with its text and what to write."""

import pytest
import yaml

from scanloom import config, dataset_config, preflight
from scanloom.strict_models import ConfigError

LICENCE = "For research only;\n  no redistribution"
AS_ONE_LINE = "For research only; no redistribution"


@pytest.fixture
def check(root, tmp_path):
    """Preflight of the shipped study on a phantom whose licence must be accepted; `accepted`: what the study says."""
    dataset = yaml.safe_load((root / "datasets/phantom.yaml").read_text())

    def run(accepted, acceptance="required"):
        (tmp_path / "phantom.yaml").write_text(
            yaml.safe_dump({**dataset, "licence": LICENCE, "licence_acceptance": acceptance})
        )
        values = yaml.safe_load((root / "config.yaml").read_text())
        values["datasets"]["phantom"]["accept_licence"] = accepted
        study = config.study_from(values)
        loaded = {"phantom": dataset_config.load_dataset("phantom", tmp_path, study.datasets["phantom"])}
        preflight.check(study, loaded)

    return run


def test_study_stops_with_the_text_and_what_to_write(check):
    with pytest.raises(ConfigError) as error:
        check(None)
    assert f"The licence:\n    {AS_ONE_LINE}\n" in str(error.value)
    assert f'datasets: {{phantom: {{accept_licence: "{AS_ONE_LINE}"}}}}' in str(error.value)


def test_what_the_message_says_to_write_is_accepted(check):
    with pytest.raises(ConfigError) as error:
        check(None)
    written = yaml.safe_load(str(error.value).partition("write in the study: ")[2])
    check(written["datasets"]["phantom"]["accept_licence"])


@pytest.mark.parametrize("accepted", [True, "yes", AS_ONE_LINE + ".", ""])
def test_anything_but_the_text_is_no_acceptance(check, accepted):
    with pytest.raises(ConfigError, match="accept_licence"):
        check(accepted)


def test_licence_that_changed_shows_both_texts(check):
    with pytest.raises(ConfigError, match=r"accept_licence has another text: 'The old licence'"):
        check("The old licence")


def test_licence_without_acceptance_asks_for_nothing(check):
    check(None, "not_needed")
    check("anything", "not_needed")

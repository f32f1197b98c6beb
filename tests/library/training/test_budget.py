"""A method's budget is the study's, but for its own overrides; impossible ones are found while planning."""

import pytest
import yaml

from scanloom import planning
from scanloom.config import study_from
from scanloom.strict_models import ConfigError
from scanloom.training.budget import Budget, Monitors, better


@pytest.fixture
def values(root):
    return yaml.safe_load((root / "config.yaml").read_text())


def with_(values: dict, **changed) -> dict:
    return values | {"pretraining": values["pretraining"] | changed}


def test_overrides_change_one_method_and_fill_in_settings(values):
    lars = {"optimizer": {"lars": {"trust": 0.02}}, "learning_rate": 0.4, "clip_norm": 1.0}
    study = study_from(with_(values, overrides={"barlow_twins": lars}))
    plain, changed = planning.budget(study, "supervised"), planning.budget(study, "barlow_twins")
    assert {key for key in plain if plain[key] != changed[key]} == set(lars)
    settings = {"momentum": 0.9, "trust": 0.02, "thin_rate": 1.0}
    assert changed["optimizer"] == {"name": "lars", "settings": settings}
    assert plain == planning.budget(study_from(values), "supervised"), "others do not train again"
    assert Budget(**changed).optimizer.settings == settings


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": {"larss": {}}}, r"no optimizer 'larss'.* Did you mean 'lars'"),
        ({"optimizer": {"lars": {"trsut": 1}}}, r"unknown key 'trsut'. Did you mean 'trust'"),
        ({"schedule": "cosin"}, r"no schedule 'cosin'.* Did you mean 'cosine'"),
        ({"precision": "float8"}, r"precision = 'float8'"),
        ({"clip_norm": 1.0, "clip_value": 1.0}, r"clip_norm \(1\) and clip_value \(1\): choose one"),
        ({"accumulate": 3}, r"a batch of 128 images cannot be cut into 3 equal parts"),
        ({"accumulate": 128}, r"leaves one image per part"),
        ({"accumulate": 2, "precision": "float16"}, r"updates would mix parts of two batches"),
        ({"profile": {"first": 298, "updates": 5}}, r"profile: update 303 is beyond the training's end"),
        ({"keep": "best", "best_by": "rankmee"}, r"best_by.*'rankmee' is no column.*Did you mean 'rankme'"),
        ({"early_stopping": {"metric": "los"}}, r"'los' is no column.*Did you mean 'loss'"),
        ({"warmup_updates": 300}, r"warm-up \(300 updates\) must be shorter than the training \(300 updates\)"),
        ({"overrides": {"barlow": {}}}, r"no 'barlow' in pretraining.methods. Did you mean 'barlow_twins'"),
        ({"overrides": {"barlow_twins": {"learnig_rate": 1}}}, r"overrides.barlow_twins: unknown key 'learnig_rate'"),
        ({"overrides": {"barlow_twins": {"updates": 20}}}, r"overrides.barlow_twins: .*must be shorter"),
    ],
)
def test_what_cannot_be_trained_is_an_error_of_the_configuration(values, changed, message):
    with pytest.raises(ConfigError, match=message):
        study_from(with_(values, **changed))


def test_an_override_of_a_table_changes_the_keys_it_names(values):
    changed = with_(
        values, monitors={"stop_on_collapse": False}, overrides={"supervised": {"monitors": {"images": 128}}}
    )
    monitors = study_from(changed).pretraining.budget_of("supervised").monitors
    assert (monitors.images, monitors.stop_on_collapse) == (128, False)


@pytest.mark.parametrize(
    ("batch", "interval", "shown", "expected"),
    # 4 % of 3 passes per image's worth: 50 x 128 x 2 views allow 1536 passes, 50 x 32 x 2 384, of which 0.6 images.
    [
        (128, 50, 2, (512, 48)),
        (32, 50, 2, (230, 38)),
        (4, 50, 2, (32, 8)),
        (32, 50, 1, (115, 19)),
        (128, 50, 2 / 9, (102, 17)),
        (4, 50, 0, (512, 48)),
    ],
)
def test_monitors_look_at_fewer_images_where_batches_are_small(batch, interval, shown, expected):
    budget = Budget(batch=batch, interval=interval, updates=1000)
    assert budget.looked_at(shown) == expected
    chosen = budget.model_copy(update={"monitors": Monitors(images=300, view_images=5)})
    assert chosen.looked_at(shown) == (300, 5)
    by_labels = budget.model_copy(update={"keep": "best", "best_by": "knn_level"})
    assert by_labels.looked_at(shown) == (512, 48)


def test_a_method_whose_encoder_labels_choose_is_a_reference(values):
    by_labels = {"barlow_twins": {"early_stopping": {"metric": "knn_level"}}}
    assert planning.methods_with_labels(study_from(with_(values, overrides=by_labels))) == [
        "supervised",
        "barlow_twins",
    ]
    watched = {"barlow_twins": {"best_by": "knn_level"}}
    assert planning.methods_with_labels(study_from(with_(values, overrides=watched))) == ["supervised"], "keep: last"


@pytest.mark.parametrize(
    "metric",
    ["discriminator_accuracy", "discriminator_soft_accuracy", "generator_adversarial", "discriminator_distance"],
)
def test_what_players_win_from_each_other_tells_nothing(metric):
    with pytest.raises(ValueError, match=f"'{metric}' is no column .* <player>_reconstruction"):
        Budget(early_stopping={"metric": metric})


def test_better_is_lower_for_losses_and_higher_for_scores():
    assert better("generator_loss", 1.0, 2.0)
    assert better("reconstruction", 1.0, 2.0)
    assert better("autoencoder_reconstruction", 1.0, 2.0)
    assert better("generator_reading", 1.0, 2.0)
    assert better("knn_vessel_loss", 2.0, 1.0), "a label of this name"
    assert better("projection_redundancy", 0.1, 0.3)
    assert better("loss", 1.0, 2.0)
    assert not better("loss", 1.9, 2.0, least=0.2)
    assert better("knn_level", 0.6, 0.5)
    assert not better("rankme", float("nan"), 0.5)
    assert not better("loss", float("nan"), 0.5)

"""What a study may write under `views`, and that every preset makes views of the images it is for."""

import keras
import numpy as np
import pytest
import yaml

from scanloom import config, planning
from scanloom.preflight import _view_problems
from scanloom.pretraining import view_choice
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.strict_models import ConfigError

SHAPES = {"chest_xray": [(16, 16, 1)], "dermoscopy": [(16, 16, 3)], "natural_images": [(16, 16, 3)]}
SHAPES |= {"mri_3d": [(8, 8, 8, 2)], "volume_finetuning": [(8, 8, 8, 1)]}
ANY = [(16, 16, 3), (8, 8, 8, 1)]
FLIP, BLUR = {"name": "flip", "settings": {}}, {"name": "gaussian_blur", "settings": {}}


@pytest.fixture
def values(root):
    return yaml.safe_load((root / "config.yaml").read_text())


def views_of(values, views):
    return config.study_from(values | {"views": views}).views


def problem(values, views):
    with pytest.raises(ConfigError) as error:
        config.study_from(values | {"views": views})
    return str(error.value)


@pytest.mark.parametrize("name", view_choice.presets())
def test_every_preset_is_complete_and_makes_views_of_its_images(values, name):
    about = view_choice.preset(name)
    assert set(about) == {"title", "source", "views"}
    views = view_choice.pairs(config.study_from(values | {"views": {"preset": name}}).model_dump()["views"])
    for shape in SHAPES.get(name, ANY):
        pipeline = Pipeline(views, shape)
        images = np.random.default_rng(0).random((4, *shape), np.float32)
        made = [pipeline.apply(images, pipeline.draw(1, branch, 0, keys_of(range(4)))) for branch in (0, 1)]
        made = keras.ops.convert_to_numpy(keras.ops.stack(made))
        assert made.min() >= 0
        assert made.max() <= 1
        assert np.abs(made[0] - made[1]).max() > 0.1


def test_the_chest_xray_list_has_the_probabilities_it_was_published_with(values):
    views = {view.name: view.settings for view in views_of(values, {"preset": "chest_xray"})}
    assert list(views) == [
        "random_resized_crop", "flip", "equalise", "gaussian_blur", "perspective", "gaussian_noise",
    ]  # fmt: skip
    assert all(settings["p"] == 0.5 for name, settings in views.items() if name != "random_resized_crop")
    assert (views["gaussian_blur"]["sigma_low_px"], views["gaussian_blur"]["sigma_high_px"]) == (0.1, 2.0)
    assert (views["gaussian_noise"]["relative_std_low"], views["gaussian_noise"]["relative_std_high"]) == (0.06, 0.10)
    assert views["perspective"]["distortion"] == 0.15
    crop = views["random_resized_crop"]  # torchvision's defaults: scale (0.08, 1), ratio (3/4, 4/3)
    assert (crop["share_low"], crop["share_high"]) == (0.08, 1.0)
    assert crop["stretch"] == pytest.approx((4 / 3) ** 0.5, abs=1e-3)


def test_the_lists_for_volumes_have_the_probabilities_of_their_code(values):
    """Taleb et al. 2020, code of the 3D exemplar task and of its finetuning."""
    views = {view.name: view.settings for view in views_of(values, {"preset": "mri_3d"})}
    assert list(views) == ["flip", "rotation", "brightness_contrast", "zoom"]
    assert {name: settings["p"] for name, settings in views.items()} == {
        "flip": 0.5, "zoom": 0.15, "rotation": 0.5, "brightness_contrast": 0.5,
    }  # fmt: skip
    assert sorted(views["flip"]["axes"]) == [-3, -2, -1]
    assert (views["zoom"]["scale_low"], views["zoom"]["scale_high"]) == (0.8, 1.2)
    assert views["zoom"]["per_axis"]
    assert (views["rotation"]["planes"], views["rotation"]["quarter_turns"]) == ("each", 0.5)
    assert (views["brightness_contrast"]["brightness"], views["brightness_contrast"]["contrast"]) == (0.125, 0.5)
    tuned = {view.name: view.settings for view in views_of(values, {"preset": "volume_finetuning"})}
    assert list(tuned) == ["flip", "rotation", "brightness_contrast"]
    assert (tuned["rotation"]["planes"], tuned["rotation"]["p"], tuned["brightness_contrast"]["p"]) == ("one", 0.5, 0.7)


def test_a_preset_is_its_list_and_may_stand_in_a_longer_one(values):
    alone = views_of(values, {"preset": "ct_head"})
    assert alone == views_of(values, view_choice.preset("ct_head")["views"])
    longer = views_of(values, ["flip", {"preset": "ct_head"}, {"cutout": {"p": 0.1}}])
    assert longer[1:-1] == alone
    assert longer[-1].settings["p"] == 0.1


def test_branches_have_lists_or_presets_of_their_own(values):
    views = views_of(values, {"branch_1": ["flip"], "branch_2": {"preset": "chest_xray"}})
    assert list(views) == ["branch_1", "branch_2"]
    assert views["branch_2"] == views_of(values, {"preset": "chest_xray"})
    study = config.study_from(values | {"views": {"branch_1": ["flip"], "branch_2": ["flip", "solarise"]}})
    assert planning.view_names(study) == ["flip", "solarise"]


def test_what_was_read_once_can_be_read_again(values):
    """Snakemake hands resolved configurations on to its own child processes."""
    for written in ({"preset": "generic"}, {"preset": "chest_xray"}):
        study = config.study_from(values | {"views": written})
        assert config.study_from(study.model_dump(mode="json")) == study


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ({"preset": "chest_xra"}, "no preset 'chest_xra'.*Did you mean 'chest_xray'"),
        ({"preset": ["flip"]}, "no preset"),
        ("flip", "expected a list of views, {preset: name}, or {branch_1"),
        ({"branch_2": ["flip"]}, "branches are named branch_1"),
        ({"branch_1": ["flip"], "second": ["flip"]}, "branches are named branch_1, branch_2"),
        ({"branch_1": ["flip"], "branch_2": []}, "at least one view is needed"),
        ([], "at least one view is needed"),
        (["flipp"], "no view 'flipp'.*Did you mean 'flip'"),
        ([{"flip": {"q": 1}}], "unknown key 'q'"),
        ([{"preset": "generic"}], "has branches, which cannot stand in a list"),
        ({"branch_1": {"preset": "generic"}}, "the preset has branches of its own"),
        ([{"rotation": {"outside": "white"}}], "outside = 'white'"),
    ],
)
def test_what_cannot_be_views_is_an_error_that_names_it(values, views, said):
    import re

    assert re.search(said, problem(values, views))


def test_views_of_another_rank_are_found_before_the_first_job(values):
    assert _view_problems(config.study_from(values)) == []
    [problem] = _view_problems(config.study_from(values | {"views": {"preset": "mri_3d"}}))
    assert "axes [-3] do not exist" in problem
    assert _view_problems(config.study_from(values | {"views": {"preset": "mri_3d"}, "rank": 3})) == []

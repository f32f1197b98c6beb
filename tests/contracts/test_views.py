"""Every view, whoever adds it: shapes, range, probability, and randomness that depends on the item alone."""

import subprocess
import sys

import keras
import numpy as np
import pytest

from scanloom import plugins
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of

VIEWS = plugins.names("views")
SHAPES = [(12, 9, 1), (12, 9, 3), (6, 7, 8, 1)]
COLOUR_ONLY = {"greyscale"}
CASES = [(name, shape) for name in VIEWS for shape in SHAPES if shape[-1] == 3 or name not in COLOUR_ONLY]
KEYS = keys_of(f"item-{i}" for i in range(40))


def images_of(shape):
    return np.random.default_rng(1).random((len(KEYS), *shape)).astype(np.float32)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_views_keep_shape_and_type_and_stay_in_the_unit_range(name, shape):
    pipeline = Pipeline([(name, {"p": 1.0})], shape)
    draws = pipeline.draw(1, 0, 0, KEYS)
    assert all(len(values) == len(KEYS) for values in draws.values())
    images = images_of(shape)
    out = keras.ops.convert_to_numpy(pipeline.apply(images, draws))
    assert out.shape == images.shape
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 1
    assert not np.array_equal(out, images)


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_with_probability_zero_nothing_changes(name, shape):
    pipeline = Pipeline([(name, {"p": 0.0})], shape)
    images = images_of(shape)
    assert np.allclose(pipeline.apply(images, pipeline.draw(1, 0, 0, KEYS)), images, atol=1e-6)


@pytest.mark.parametrize("name", VIEWS)
def test_an_images_view_does_not_depend_on_its_batch(name):
    pipeline = Pipeline([(name, {})], (12, 9, 3))
    images = images_of((12, 9, 3))
    whole = keras.ops.convert_to_numpy(pipeline.apply(images, pipeline.draw(1, 0, 3, KEYS)))
    part = keras.ops.convert_to_numpy(pipeline.apply(images[10:14], pipeline.draw(1, 0, 3, KEYS[10:14])))
    assert np.allclose(whole[10:14], part, atol=1e-6)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("changed", [(2, 0, 0), (1, 1, 0), (1, 0, 1)], ids=["seed", "branch", "epoch"])
def test_draws_change_with_seed_branch_and_epoch_and_with_nothing_else(name, changed):
    pipeline = Pipeline([(name, {"p": 0.5})], (12, 9, 3))
    draws, again, other = (pipeline.draw(*key, KEYS) for key in ((1, 0, 0), (1, 0, 0), changed))
    assert all(np.array_equal(draws[k], again[k]) for k in draws)
    images = images_of((12, 9, 3))
    assert not np.array_equal(pipeline.apply(images, draws), pipeline.apply(images, other))


@pytest.mark.parametrize("name", VIEWS)
def test_a_probability_of_one_half_changes_about_half_of_the_images(name):
    pipeline = Pipeline([(name, {"p": 0.5})], (12, 9, 3))
    images = images_of((12, 9, 3))
    out = keras.ops.convert_to_numpy(pipeline.apply(images, pipeline.draw(1, 0, 0, KEYS)))
    changed = (np.abs(out - images).max(axis=(1, 2, 3)) > 1e-5).mean()
    assert 0.2 < changed < 0.8


@pytest.mark.parametrize("kind", ["views", "encoders", "methods"])
def test_settings_describe_every_field_and_refuse_unknown_keys(kind):
    for name in plugins.names(kind):
        module = plugins.load(kind, name)
        assert module.__doc__, name
        assert module.Settings.model_config["extra"] == "forbid"
        assert all(field.description for field in module.Settings.model_fields.values()), name


def test_loading_every_plugin_of_training_imports_no_framework():
    code = (
        "import sys; from scanloom import plugins\n"
        "for kind in ('views', 'encoders', 'methods'):\n"
        "    for name in plugins.names(kind): plugins.load(kind, name).Settings.model_json_schema()\n"
        "import scanloom.pretraining.pretraining_run, scanloom.training.training_loop\n"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

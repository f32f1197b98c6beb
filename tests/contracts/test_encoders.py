"""Every encoder, whoever adds it: features and feature map at rank 2 and 3, weights decided by the seed; it can be
saved, transferred, frozen and explained."""

import functools
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import small_encoders
from small_encoders import SETTINGS, VARIANTS, build, images, shapes

from scanloom import plugins
from scanloom.downstream.finetuning import set_frozen
from scanloom.downstream.heads import classifier
from scanloom.explain._feature_gradients import feature_gradients
from scanloom.training.model_files import save_model
from scanloom.training.weight_transfer import transfer

ENCODERS = plugins.names("encoders")
NORMALISED_AFTER_POOLING = ("convnext",)
EVERY = [
    pytest.param(name, settings, shape, id=f"{name}-{index}-{'x'.join(map(str, shape))}")
    for index, (name, settings) in enumerate(VARIANTS)
    for shape in (shapes(name) if index < len(SETTINGS) else shapes(name)[-1:])
]


@functools.cache
def built(index: int, shape: tuple[int, ...]):
    name, settings = VARIANTS[index]
    return build(name, shape, 0, settings)


def encoder_of(name, settings, shape):
    return built(VARIANTS.index((name, settings)), shape)


def test_every_encoder_is_among_the_variants():
    assert {name for name, _ in VARIANTS} == set(ENCODERS)


@pytest.mark.parametrize("name", ENCODERS)
def test_default_settings_are_valid_and_say_what_they_mean(name):
    module = plugins.load("encoders", name)
    module.Settings()
    assert all(field.description for field in module.Settings.model_fields.values())


@pytest.mark.parametrize(("name", "settings", "shape"), EVERY)
def test_an_encoder_maps_images_to_pooled_features_of_its_feature_map(name, settings, shape):
    encoder = encoder_of(name, settings, shape)
    both = keras.Model(encoder.input, [encoder.get_layer("feature_map").output, encoder.output])
    feature_map, features = (keras.ops.convert_to_numpy(out) for out in both(images(shape), training=False))
    assert feature_map.ndim == len(shape) + 1
    assert features.shape == (2, feature_map.shape[-1])
    assert features.dtype == np.float32
    if name not in NORMALISED_AFTER_POOLING:
        assert np.allclose(features, feature_map.mean(axis=tuple(range(1, len(shape)))), rtol=1e-4, atol=1e-5)
    if name != "keras_application":  # its untrained networks hardly tell two images of 32 px apart
        assert np.abs(features[0] - features[1]).max() > 1e-4


@pytest.mark.parametrize(("name", "settings", "shape"), EVERY)
def test_everything_after_the_feature_map_depends_on_it_alone(name, settings, shape):
    """What Grad-CAM needs: activations, gradients of a logit, and the same logits as the whole network."""
    model = classifier(encoder_of(name, settings, shape), 2)
    model.get_layer("logits").kernel.assign(
        np.random.default_rng(0).normal(size=model.get_layer("logits").kernel.shape)
    )
    activations, gradients, logits = feature_gradients(model)(images(shape), np.array([0, 1]))
    assert gradients.shape == activations.shape
    assert np.abs(gradients).max() > 0
    assert np.allclose(logits, model(images(shape)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ENCODERS)
def test_the_seed_decides_the_weights_and_nothing_else_does(name):
    weights = []
    for disturbance, seed in ((1, 0), (2, 0), (3, 1)):
        keras.utils.set_random_seed(disturbance)
        weights.append(build(name, shapes(name)[0], seed).get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(weights[0], weights[1], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))


@pytest.mark.parametrize(("name", "settings", "shape"), EVERY)
def test_weights_move_to_an_encoder_of_another_seed_which_is_then_saved_with_the_same_bytes(
    name, settings, shape, tmp_path
):
    """And what was saved loads without this library."""
    source, target = encoder_of(name, settings, shape), build(name, shape, 7, settings)
    account = transfer(source, target)
    assert account.missed == account.unused == ()
    save_model(source, tmp_path / "source.keras")
    save_model(target, tmp_path / "target.keras")
    assert (tmp_path / "source.keras").read_bytes() == (tmp_path / "target.keras").read_bytes()
    loaded = keras.saving.load_model(tmp_path / "source.keras", safe_mode=True)
    assert np.array_equal(loaded(images(shape)), source(images(shape)))


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_a_frozen_encoder_keeps_its_batch_statistics_and_a_free_one_does_not(name, settings):
    shape = shapes(name)[-1]
    encoder = encoder_of(name, settings, shape)
    network, before = classifier(encoder, 2), encoder.get_weights()
    set_frozen(network, True)
    assert [v.path for v in network.trainable_variables] == ["logits/kernel", "logits/bias"]
    network(images(shape), training=True)
    assert all(np.array_equal(a, b) for a, b in zip(before, encoder.get_weights(), strict=True))
    set_frozen(network, False)
    network(images(shape), training=True)
    statistics = [v for v in encoder.non_trainable_variables if v.path.endswith("moving_mean")]
    changed = [not np.array_equal(a, b) for a, b in zip(before, encoder.get_weights(), strict=True)]
    assert any(changed) == bool(statistics)
    encoder.set_weights(before)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients with TensorFlow's tape")
@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_gradients_reach_every_weight(name, settings):
    import tensorflow as tf

    shape = shapes(name)[-1]
    encoder = encoder_of(name, settings, shape)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.square(encoder(images(shape), training=False)))
    gradients = tape.gradient(total, [variable.value for variable in encoder.trainable_variables])
    assert not [v.path for v, g in zip(encoder.trainable_variables, gradients, strict=True) if g is None]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="takes gradients with TensorFlow's tape")
@pytest.mark.parametrize(("name", "settings", "shape"), EVERY)
def test_gradients_are_those_of_double_precision(name, settings, shape):
    """Compiled with XLA for that, which shares no code with the kernels that train (oneDNN's and Eigen's).

    TensorFlow has no maximum of volumes in double precision: there single has to do.
    """
    import tensorflow as tf

    single, policy = encoder_of(name, settings, shape), keras.config.dtype_policy()
    precision = "float32" if any(isinstance(layer, keras.layers.MaxPooling3D) for layer in single.layers) else "float64"
    keras.config.set_dtype_policy(precision)
    try:
        double = build(name, shape, 0, settings)
    finally:
        keras.config.set_dtype_policy(policy)
    found = []
    for encoder, dtype, xla in ((single, "float32", False), (double, precision, True)):
        variables = [variable.value for variable in encoder.trainable_variables]

        @tf.function(jit_compile=xla)
        def gradients(x, encoder=encoder, variables=variables):
            with tf.GradientTape() as tape:
                tape.watch(x)
                features = encoder(x, training=False)
                total = tf.reduce_sum(features * tf.linspace(tf.cast(-1, x.dtype), 1, features.shape[-1]))
            return tape.gradient(total, [x, *variables])

        found.append([tf.convert_to_tensor(g).numpy() for g in gradients(tf.constant(images(shape), dtype))])
    largest = max(np.linalg.norm(exact) for exact in found[1])
    for path, ours, exact in zip(["images", *(v.path for v in single.trainable_variables)], *found, strict=True):
        assert exact.dtype == precision
        assert np.linalg.norm(ours - exact) <= 1e-3 * np.linalg.norm(exact) + 1e-6 * largest, path


def test_weights_and_features_are_the_same_with_jax_alone(root, tmp_path):
    python = Path(os.environ.get("SCANLOOM_JAX_PYTHON", root / ".venv-jax" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no JAX-only environment at {python} (set SCANLOOM_JAX_PYTHON, or `uv sync --group jax-only`)")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    command = [str(python), small_encoders.__file__, str(tmp_path / "jax.npz")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = small_encoders.found(), dict(np.load(tmp_path / "jax.npz"))
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        same = np.array_equal if name.endswith("weights") else functools.partial(np.allclose, atol=1e-4)
        assert same(values, theirs[name]), name
    assert "jax" not in sys.modules


@pytest.mark.parametrize(
    ("name", "settings", "shape", "message"),
    [
        *((name, None, (16, 1), f"has 1 spatial axes; {name} takes") for name in ENCODERS),
        (
            "unet",
            {"levels": 4},
            (20, 24, 1),
            r"\(20, 24, 1\): unet needs edges that are multiples of 8 here; change levels",
        ),
        ("vit", {"patch": 8}, (16, 20, 1), "vit needs edges that are multiples of 8 here; change patch"),
        ("vit", {"width": 32, "heads": 3}, (16, 16, 1), "width 32 is no multiple of heads 3"),
        ("convnext", {}, (24, 24, 1), "convnext needs edges that are multiples of 16 here; change patch or depths"),
        ("densenet", {"stem": "imagenet"}, (16, 16, 1), "densenet needs edges of at least 32 here; change stem"),
        (
            "resnet",
            {"stem": "strided", "padding": "symmetric"},
            (8, 1, 1),
            "resnet needs edges of at least 2 here; change stem or padding",
        ),
        ("densenet", {"depth": None}, (16, 16, 1), "densenet: depth None with blocks"),
        ("small_cnn", {"stages": (1,) * 6}, (16, 16, 1), "small_cnn needs edges of at least 32 here"),
        ("discriminator", {}, (7, 7, 1), "edges of at least 8 are needed; lower `smallest`"),
        ("discriminator", {}, (16, 18, 1), "discriminator needs edges that are multiples of 4 here"),
        ("keras_application", {"name": "Xception"}, (32, 32, 1), "Xception needs edges of at least 71; choose another"),
        ("slices_25d", {"edge": 4}, (8, 8, 8, 1), "slices_25d pads to edge 4, which is less; raise edge"),
        ("slices_25d", {"settings": {"width": 2, "depth": 10}}, (9, 9, 9, 1), "makes 2 places of an edge of 9"),
    ],
)
def test_an_image_that_does_not_fit_is_a_clear_error(name, settings, shape, message):
    with pytest.raises(ValueError, match=message):
        build(name, shape, 0, settings)


@pytest.mark.parametrize("shape", [(9, 8, 3), (8, 8, 8, 1)])
def test_the_example_of_the_documentation_is_an_encoder(root, shape):
    [source] = re.findall(r"```python\n(.*?)```", (root / "docs" / "add-an-encoder.md").read_text(), flags=re.DOTALL)
    module = types.ModuleType("plain")
    exec(source, module.__dict__)
    encoder = module.build(module.Settings(), shape, 0)
    assert encoder(images(shape)).shape == (2, 32)
    assert encoder.get_layer("feature_map").output.shape[-1] == 32

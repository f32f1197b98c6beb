"""Grad-CAM against identities and an independent computation."""

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from scanloom.downstream.heads import classifier, head_of
from scanloom.explain._feature_gradients import feature_gradients
from scanloom.explain._upsample import interpolation_matrix, upsample
from scanloom.explain.grad_cam import Settings, explainer
from scanloom.lazy import keras


def network(rank, classes=3, hidden=False, size=8):
    """Convolution to half the size, pooling, linear head with random weights; optionally a hidden layer before it."""
    inputs = keras.Input((size,) * rank + (2,))
    init = keras.initializers.GlorotUniform
    conv = getattr(keras.layers, f"Conv{rank}D")
    flow = conv(5, 3, strides=2, padding="same", kernel_initializer=init(1), name="feature_map")(inputs)
    flow = getattr(keras.layers, f"GlobalAveragePooling{rank}D")()(flow)
    if hidden:
        flow = keras.layers.Dense(6, activation="tanh", kernel_initializer=init(2), name="hidden")(flow)
    model = classifier(keras.Model(inputs, flow), classes)
    random = np.random.default_rng(3)
    head_of(model).set_weights([random.normal(size=w.shape) for w in head_of(model).get_weights()])
    return model, random.random((4, *(size,) * rank, 2), np.float32)


@pytest.mark.parametrize("rank", [2, 3])
def test_pooling_and_linear_head_give_the_class_activation_map(rank):
    model, images = network(rank)
    wanted = np.array([0, 2, 1, 2])
    activations = np.asarray(keras.Model(model.input, model.get_layer("feature_map").output)(images))
    kernel = head_of(model).get_weights()[0]
    cam = np.einsum("b...k,kb->b...", activations, kernel[:, wanted]) / 4**rank
    maps = explainer(model, Settings())(images, wanted)
    assert maps.shape == images.shape[:-1]
    assert maps.dtype == np.float32
    assert np.allclose(maps, upsample(np.maximum(cam, 0), (8,) * rank), atol=1e-6)
    assert maps.max() > 0


@pytest.mark.parametrize("rank", [2, 3])
def test_gradient_times_activation_sums_to_the_logit_without_its_bias(rank):
    model, images = network(rank)
    wanted = np.array([1, 1, 0, 2])
    activations, gradients, logits = feature_gradients(model)(images, wanted)
    total = (activations * gradients).reshape(4, -1).sum(axis=1) + head_of(model).get_weights()[1][wanted]
    assert np.allclose(total, logits[np.arange(4), wanted], atol=1e-5)
    assert np.allclose(logits, np.asarray(model(images)), atol=1e-6)


def test_gradients_through_a_nonlinear_head_equal_numpys():
    model, images = network(2, hidden=True)
    wanted = np.array([2, 0, 1, 0])
    activations, gradients, _ = feature_gradients(model)(images, wanted)
    w1, b1 = model.get_layer("hidden").get_weights()
    w2, _ = head_of(model).get_weights()
    hidden = np.tanh(activations.mean(axis=(1, 2)) @ w1 + b1)
    by_pooled = ((1 - hidden**2) * w2[:, wanted].T) @ w1.T
    expected = np.broadcast_to(by_pooled[:, None, None] / 16, gradients.shape)
    assert np.allclose(gradients, expected, atol=1e-6)


def test_two_classes_trained_from_a_new_head_have_opposite_gradients():
    inputs = keras.Input((4, 4, 1))
    flow = keras.layers.Conv2D(3, 3, padding="same", name="feature_map")(inputs)
    model = classifier(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(flow)), 2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-2), loss, jit_compile=False)
    images = np.random.default_rng(0).random((16, 4, 4, 1), np.float32)
    for _ in range(5):
        model.train_on_batch(images, np.arange(16) % 2)
    gradients_of = feature_gradients(model)
    one, zero = (gradients_of(images, np.full(16, c))[1] for c in (1, 0))
    assert np.abs(one).max() > 1e-4
    assert np.allclose(one, -zero, atol=1e-6)


def test_upsampling_equals_opencv_and_works_per_axis_in_3d():
    coarse = np.random.default_rng(0).random((2, 3, 5)).astype(np.float32)
    ours = upsample(coarse, (12, 10))
    theirs = np.stack([cv2.resize(m, (10, 12), interpolation=cv2.INTER_LINEAR) for m in coarse])
    assert np.allclose(ours, theirs, atol=1e-6)
    volume = np.random.default_rng(0).random((1, 2, 3, 4))
    expected = np.einsum("zxyw,az,bx,cy->abc", volume.transpose(1, 2, 3, 0), *_matrices((2, 3, 4), (4, 9, 8)))
    assert np.allclose(upsample(volume, (4, 9, 8))[0], expected, atol=1e-6)
    assert np.allclose(upsample(np.ones((1, 1, 1)), (7, 5)), 1)


def _matrices(coarse, fine):
    return [interpolation_matrix(c, f) for c, f in zip(coarse, fine, strict=True)]


def test_a_model_without_the_layer_is_named_in_the_error():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="only")(inputs), name="small")
    with pytest.raises(ValueError, match=r"model 'small' has no layer 'feature_map'; its last layers are .*only"):
        explainer(model, Settings())


JAX_SCRIPT = """
import sys, numpy as np, keras
from scanloom.explain._feature_gradients import feature_gradients
model = keras.saving.load_model(sys.argv[1], compile=False)
given = np.load(sys.argv[2])
activations, gradients, logits = feature_gradients(model)(given["images"], given["wanted"])
assert keras.backend.backend() == "jax" and "tensorflow" not in sys.modules
np.savez(sys.argv[3], activations=activations, gradients=gradients, logits=logits)
"""


def test_jax_gives_the_same_gradients_as_tensorflow(tmp_path, root):
    jax_python = Path(os.environ.get("SCANLOOM_JAX_PYTHON", root / ".venv-jax" / "bin" / "python"))
    if not jax_python.exists():
        pytest.skip(f"no JAX environment at {jax_python} (set SCANLOOM_JAX_PYTHON)")
    if keras.backend.backend() == "jax":
        pytest.skip("this process runs on JAX already")
    model, images = network(2, hidden=True)
    wanted = np.array([0, 1, 2, 1])
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "given.npz", images=images, wanted=wanted)
    arguments = [str(tmp_path / name) for name in ("model.keras", "given.npz", "found.npz")]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(root)}
    subprocess.run([jax_python, "-c", JAX_SCRIPT, *arguments], check=True, env=environment, timeout=300)
    found = np.load(tmp_path / "found.npz")
    for name, ours in zip(
        ("activations", "gradients", "logits"), feature_gradients(model)(images, wanted), strict=True
    ):
        assert np.allclose(found[name], ours, rtol=1e-4, atol=1e-6), name

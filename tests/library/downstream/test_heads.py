"""Classification heads."""

import numpy as np
import pytest

from scanloom.downstream.heads import classifier, head_of, softmax
from scanloom.lazy import keras


def encoder(rank=2):
    inputs = keras.Input((8,) * rank + (1,))
    conv = getattr(keras.layers, f"Conv{rank}D")(4, 3, padding="same", activation="relu", name="feature_map")(inputs)
    return keras.Model(inputs, getattr(keras.layers, f"GlobalAveragePooling{rank}D")()(conv))


@pytest.mark.parametrize("rank", [2, 3])
def test_a_new_head_gives_every_class_the_same_probability(rank):
    model = classifier(encoder(rank), 3)
    images = np.random.default_rng(0).random((2, *(8,) * rank, 1), np.float32)
    assert np.array_equal(np.asarray(model(images)), np.zeros((2, 3)))
    assert np.allclose(softmax(np.asarray(model(images))), 1 / 3)


def test_the_saved_model_reaches_the_feature_map_and_shares_the_encoders_weights(tmp_path):
    network = encoder()
    model = classifier(network, 2)
    head_of(model).set_weights([np.ones((4, 2)), np.array([0.5, -0.5])])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert loaded.get_layer("feature_map").output.shape == (None, 8, 8, 4)
    images = np.random.default_rng(1).random((3, 8, 8, 1), np.float32)
    expected = np.asarray(network(images)) @ np.ones((4, 2)) + [0.5, -0.5]
    assert np.allclose(np.asarray(loaded(images)), expected, atol=1e-6)


def test_softmax_of_large_logits_is_finite_and_exact():
    probabilities = softmax(np.array([[1e4, 1e4 - np.log(3)], [0.0, 0.0]]))
    assert np.allclose(probabilities, [[0.75, 0.25], [0.5, 0.5]])


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="at least 2 classes, not 1"):
        classifier(encoder(), 1)

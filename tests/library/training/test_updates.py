"""Single updates and their time."""

import numpy as np
import pytest
import tiny_training as tiny
from tiny_corpus import TinyCorpus

from scanloom.pretraining.method_training import bare_training
from scanloom.training.budget import Budget, DoesNotFit
from scanloom.training.training_loop import train_steps
from scanloom.training.updates import seconds_without_input, update


def test_timing_without_input_leaves_the_model_as_it_was():
    model, other = tiny.make_model(), tiny.make_model()
    assert 0 < seconds_without_input(model, tiny.batch_at(0), 3) < 1
    assert tiny.same_weights(model, other)
    for m in (model, other):
        train_steps(m, tiny.batch_at, lambda step: 0.1, 4)
    assert tiny.same_weights(model, other)


def test_what_this_processor_cannot_compute_in_half_precision_is_said():
    """TensorFlow's CPU has no AvgPool3D of float16, which `resnet` needs at rank 3."""
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        pytest.skip("graphics processors have it")
    corpus = TinyCorpus()
    corpus.image_spec = {"shape": [16, 16, 16, 1], "dtype": "uint8"}
    corpus.images = lambda indices: np.zeros((len(indices), 16, 16, 16, 1), np.uint8)
    model, batch_at = bare_training(
        corpus,
        method="barlow_twins",
        method_settings={"projector": [8, 8]},
        encoder="resnet",
        encoder_settings={"depth": 10, "width": 4},
        views=[],
        budget=Budget(updates=4, batch=8, precision="float16"),
        seed=5,
    )
    with pytest.raises(DoesNotFit, match=r"no AvgPool3D for this processor.*precision: bfloat16"):
        update(model, batch_at(0))

"""Supervised pretraining's loss is cross-entropy of its labels."""

import numpy as np
import pytest
from scipy.special import log_softmax

from scanloom.encoders import resnet
from scanloom.methods import supervised
from scanloom.pretraining.view_pipeline import Pipeline


def make(classes):
    encoder = resnet.build(resnet.Settings(depth=10, width=2), (8, 8, 1), 0)
    pipeline = Pipeline([("flip", {"p": 0.0})], (8, 8, 1))
    return supervised.build(encoder, supervised.Settings(label="level"), pipeline, 0, classes)


def test_loss_is_the_mean_negative_log_probability_of_the_label():
    model = make(3)
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 2, 1, 0], np.int32)
    expected = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(6), labels].mean()
    assert np.isclose(float(model.compute_loss(x={"labels": labels}, y_pred=[logits])), expected, rtol=1e-5)


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="label 'level' has 1 classes"):
        make(1)

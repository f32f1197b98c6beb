"""SimSiam: the negative cosine of the paper, and no gradient through the side that is predicted."""

import keras
import numpy as np
import pytest

from scanloom.methods import simsiam
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.training.initial_weights import initialise

RNG = np.random.default_rng(0)


def published(p, z):
    """arXiv 2011.10566, equation 1, in NumPy float64."""
    p, z = np.asarray(p, np.float64), np.asarray(z, np.float64)
    return -np.mean(np.sum(p * z, axis=1) / np.linalg.norm(p, axis=1) / np.linalg.norm(z, axis=1))


def make():
    images = keras.Input((4, 4, 1))
    features = keras.layers.Dense(8, name="hidden")(keras.layers.Flatten()(images))
    encoder = initialise(keras.Model(images, features, name="toy"), 0)
    return simsiam.build(encoder, simsiam.Settings(projector=(8, 6), predictor=3), Pipeline([], (4, 4, 1)), 0)


@pytest.mark.parametrize(("n", "d"), [(5, 3), (64, 32)])
def test_loss_is_the_papers_symmetric_negative_cosine(n, d):
    z1, p1, z2, p2 = RNG.normal(1, 2, (4, n, d)).astype(np.float32)
    expected = published(p1, z2) / 2 + published(p2, z1) / 2
    assert np.isclose(float(make().compute_loss(x={}, y_pred=[[z1, p1], [z2, p2]])), expected, rtol=1e-5)
    assert np.isclose(float(simsiam.negative_cosine(z1, 3 * z1)), -1.0, rtol=1e-6)


def test_the_predicted_side_gets_no_gradient_and_the_predicting_side_the_cosines():
    values = RNG.normal(1, 2, (2, 4, 3))

    class Both(keras.Model):
        """Prediction and target are weights, so an update shows their gradients."""

        def __init__(self):
            super().__init__()
            p, z = (keras.initializers.Constant(v.tolist()) for v in values)
            self.p = self.add_weight(shape=(4, 3), initializer=p, name="p")
            self.z = self.add_weight(shape=(4, 3), initializer=z, name="z")
            self.built = True

        def call(self, inputs, training=False):
            return inputs

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            # The second term only lets the framework see a gradient for z; it is zero.
            return simsiam.negative_cosine(self.p, self.z) + 0.0 * keras.ops.sum(self.z)

    model = Both()
    model.compile(optimizer=keras.optimizers.SGD(1.0), jit_compile=False)
    model.train_on_batch(np.zeros((4, 1), np.float32))
    p, z = values
    length, unit = np.linalg.norm(p, axis=1, keepdims=True), z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine = np.sum(p * unit, axis=1, keepdims=True) / length
    gradient = -(unit - cosine * p / length) / length / len(p)
    assert np.allclose(values[0] - model.p.numpy(), gradient, atol=1e-6)
    assert np.array_equal(values[1].astype(np.float32), model.z.numpy())


def test_the_head_normalises_the_embedding_and_narrows_in_the_predictor():
    head = make().head
    embedding, prediction = head(RNG.normal(2, 5, (64, 8)).astype(np.float32), training=True)
    embedding = keras.ops.convert_to_numpy(embedding)
    assert np.allclose(embedding.mean(axis=0), 0, atol=1e-5)
    assert np.allclose(embedding.std(axis=0), 1, atol=1e-3)
    assert tuple(prediction.shape) == (64, 6)
    kernels = [tuple(v.shape) for v in head.trainable_variables if v.path.endswith("kernel")]
    assert kernels == [(8, 8), (8, 6), (6, 3), (3, 6)]

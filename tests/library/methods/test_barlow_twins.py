"""The Barlow Twins loss is the paper's, by three outside expectations."""

import keras
import numpy as np
import pytest
from scipy.linalg import hadamard

from scanloom.methods.barlow_twins import barlow_loss, projector

RNG = np.random.default_rng(0)


def published(z1, z2, weight):
    """facebookresearch/barlowtwins, main.py, in float64 NumPy: non-affine BatchNorm1d, off_diagonal by reshaping."""

    def bn(z):
        return (z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5)

    z1, z2 = np.asarray(z1, np.float64), np.asarray(z2, np.float64)
    c = bn(z1).T @ bn(z2) / len(z1)
    n = c.shape[0]
    on_diag = ((np.diagonal(c) - 1) ** 2).sum()
    off_diag = (c.flatten()[:-1].reshape(n - 1, n + 1)[:, 1:].flatten() ** 2).sum()
    return on_diag + weight * off_diag


@pytest.mark.parametrize(("n", "d"), [(8, 5), (64, 32)])
@pytest.mark.parametrize("weight", [0.0051, 0.5])
def test_loss_equals_the_published_code(n, d, weight):
    z1 = RNG.normal(2, 3, (n, d)).astype(np.float32)
    z2 = (z1 + RNG.normal(0, 1, (n, d))).astype(np.float32)
    assert np.isclose(float(barlow_loss(z1, z2, weight)), published(z1, z2, weight), rtol=1e-5)


def test_identical_whitened_embeddings_have_no_loss():
    z = hadamard(16)[:, 1:9].astype(np.float32)
    assert float(barlow_loss(z, z, 0.005)) < 1e-6


def test_a_collapsed_embedding_costs_one_per_dimension():
    z = np.full((16, 8), 0.7, np.float32)
    assert np.isclose(float(barlow_loss(z, z, 0.005)), 8.0)


def test_fully_redundant_dimensions_cost_lambda_per_pair():
    z = np.tile(RNG.normal(size=(64, 1)), (1, 6)).astype(np.float32)
    assert np.isclose(float(barlow_loss(z, z, 0.01)), 0.01 * 30, rtol=1e-3)


def test_the_projector_has_the_papers_layers():
    model = projector(32, (64, 64, 16), seed=0)
    kernels = [v for v in model.trainable_variables if v.path.endswith("kernel")]
    assert [tuple(v.shape) for v in kernels] == [(32, 64), (64, 64), (64, 16)]
    assert not [v for v in model.trainable_variables if v.path.endswith("bias")]
    assert isinstance(model.layers[-1], keras.layers.Dense)

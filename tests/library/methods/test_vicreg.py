"""The VICReg loss is the paper's: its equations in float64, and embeddings for which a term must vanish."""

import numpy as np
import pytest
from scipy.linalg import hadamard

from scanloom.methods.vicreg import EPSILON, vicreg_loss

RNG = np.random.default_rng(0)


def published(z1, z2, a, b, c):
    """arXiv 2105.04906, equations 1 to 6, in NumPy float64; the variance term is halved as in the authors' code."""
    z1, z2 = np.asarray(z1, np.float64), np.asarray(z2, np.float64)
    size, dimensions = z1.shape
    invariance = sum(np.sum((x - y) ** 2) for x, y in zip(z1, z2, strict=True)) / (size * dimensions)
    variance = covariance = 0.0
    for z in (z1, z2):
        variance += np.mean(np.maximum(0.0, 1.0 - np.sqrt(z.var(axis=0, ddof=1) + EPSILON))) / 2
        matrix = np.cov(z, rowvar=False)
        covariance += (np.sum(matrix**2) - np.sum(np.diag(matrix) ** 2)) / dimensions
    return a * invariance + b * variance + c * covariance


@pytest.mark.parametrize(("n", "d"), [(6, 5), (64, 32)])
@pytest.mark.parametrize("weights", [(25.0, 25.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_loss_equals_the_papers_equations(n, d, weights):
    z1 = RNG.normal(2, 0.7, (n, d)).astype(np.float32)
    z2 = (z1 + RNG.normal(0, 0.3, (n, d))).astype(np.float32)
    assert np.isclose(float(vicreg_loss(z1, z2, *weights)), published(z1, z2, *weights), rtol=1e-5)


def test_equal_uncorrelated_embeddings_of_deviation_one_have_no_loss():
    z = hadamard(16)[:, 1:9].astype(np.float32)
    assert float(vicreg_loss(z, z, 25.0, 25.0, 1.0)) < 1e-9


def test_each_term_vanishes_alone():
    spread = hadamard(16)[:, 1:9].astype(np.float32)
    moved, copied, constant = spread + np.float32(0.5), spread[:, [0, 0, 1]], np.full((16, 8), 3.0, np.float32)
    assert np.isclose(float(vicreg_loss(spread, moved, 1.0, 25.0, 1.0)), 0.25)  # only the distance is left
    assert float(vicreg_loss(constant, constant, 1.0, 0.0, 1.0)) < 1e-9
    assert np.isclose(float(vicreg_loss(constant, constant, 1.0, 1.0, 1.0)), 1 - np.sqrt(EPSILON))
    variance = 16 / 15  # of +-1 with N - 1
    assert np.isclose(float(vicreg_loss(copied, copied, 1.0, 1.0, 1.0)), 2 * 2 * variance**2 / 3)

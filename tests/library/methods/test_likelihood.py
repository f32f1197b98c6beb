"""Log-likelihoods of images equal SciPy's densities."""

import numpy as np
import pytest
from scipy import stats

from scanloom.methods._likelihood import SMALLEST_SCALE, log_likelihood

RNG = np.random.default_rng(0)
IMAGES = RNG.random((3, 4, 5, 2)).astype(np.float32)
DECODED = RNG.normal(0, 1.5, IMAGES.shape).astype(np.float32)


def total(values):
    return values.reshape(len(values), -1).sum(axis=1)


def test_bernoulli_equals_scipy_on_black_and_white_and_is_linear_between():
    white = (IMAGES > 0.5).astype(np.float32)
    p = 1 / (1 + np.exp(-DECODED.astype(np.float64)))
    expected = total(stats.bernoulli.logpmf(white, p))
    assert np.allclose(log_likelihood(white, DECODED, "bernoulli"), expected, rtol=1e-5)
    between = IMAGES * np.log(p) + (1 - IMAGES) * np.log1p(-p)
    assert np.allclose(log_likelihood(IMAGES, DECODED, "bernoulli"), total(between), rtol=1e-5)


@pytest.mark.parametrize(("kind", "density"), [("gaussian", stats.norm), ("laplace", stats.laplace)])
def test_a_fixed_scale_gives_scipys_density(kind, density):
    expected = total(density.logpdf(IMAGES.astype(np.float64), DECODED, 0.3))
    assert np.allclose(log_likelihood(IMAGES, DECODED, kind, 0.3), expected, rtol=1e-5)


@pytest.mark.parametrize(("kind", "density"), [("gaussian", stats.norm), ("laplace", stats.laplace)])
def test_the_fitted_scale_is_the_one_that_scipy_fits(kind, density):
    error = (IMAGES - DECODED).astype(np.float64)
    _, scale = density.fit(error.ravel(), floc=0)
    expected = total(density.logpdf(error, 0, scale))
    assert np.allclose(log_likelihood(IMAGES, DECODED, kind, "fitted"), expected, rtol=1e-5)


def test_a_perfect_reconstruction_has_a_finite_likelihood():
    found = np.asarray(log_likelihood(IMAGES, IMAGES, "gaussian"))
    assert np.allclose(found, 40 * stats.norm.logpdf(0, 0, SMALLEST_SCALE), rtol=1e-5)

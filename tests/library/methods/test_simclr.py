"""NT-Xent is the paper's equation 1, taken literally in float64, and right where its value is known."""

import numpy as np
import pytest
from scipy.special import logsumexp

from scanloom.methods.simclr import nt_xent

RNG = np.random.default_rng(0)


def published(z1, z2, temperature):
    """arXiv 2002.05709, equation 1, view by view, with SciPy's logsumexp over all views but the view itself."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    similarity, n = z @ z.T / temperature, len(z1)
    losses = [logsumexp(np.delete(similarity[i], i)) - similarity[i, (i + n) % (2 * n)] for i in range(2 * n)]
    return np.mean(losses)


@pytest.mark.parametrize(("n", "d"), [(2, 3), (7, 5), (64, 32)])
@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_loss_equals_the_papers_equation(n, d, temperature):
    z1 = RNG.normal(1, 3, (n, d)).astype(np.float32)
    z2 = (z1 + RNG.normal(0, 2, (n, d))).astype(np.float32)
    assert np.isclose(float(nt_xent(z1, z2, temperature)), published(z1, z2, temperature), rtol=1e-5, atol=1e-6)


def test_a_collapsed_embedding_costs_the_logarithm_of_the_other_views():
    z = np.full((8, 4), 0.3, np.float32)
    assert np.isclose(float(nt_xent(z, z, 0.2)), np.log(15), rtol=1e-6)


def test_orthogonal_images_with_equal_views_cost_what_the_formula_says():
    z = np.eye(8, dtype=np.float32)
    assert np.isclose(float(nt_xent(z, z, 0.5)), np.log(1 + 14 * np.exp(-2)), rtol=1e-6)


def test_length_of_embeddings_and_order_of_views_do_not_matter():
    z1, z2 = RNG.normal(size=(2, 6, 4)).astype(np.float32)
    assert np.isclose(float(nt_xent(z1, z2, 0.2)), float(nt_xent(100 * z2, 0.01 * z1, 0.2)), rtol=1e-5)

"""Collapse monitors have their known values on embeddings of known shape."""

import math

import numpy as np

from scanloom.monitors import embedding_std, rankme

RNG = np.random.default_rng(0)


def test_std_is_zero_when_all_images_have_one_embedding():
    assert embedding_std(np.tile(RNG.normal(size=(1, 16)), (50, 1))) < 1e-12


def test_std_does_not_see_length_only_direction():
    assert embedding_std(np.outer(RNG.uniform(1, 9, 50), RNG.normal(size=16))) < 1e-12


def test_std_is_one_over_root_d_for_isotropic_embeddings():
    assert math.isclose(embedding_std(RNG.normal(size=(20000, 25))), 1 / 5, rel_tol=0.01)


def test_rankme_is_the_rank_for_equal_singular_values():
    q, _ = np.linalg.qr(RNG.normal(size=(40, 7)))
    assert math.isclose(rankme(q @ RNG.permutation(np.eye(7))), 7, rel_tol=1e-9)


def test_rankme_is_exp_entropy_of_singular_values():
    shares = np.array([0.5, 0.25, 0.125, 0.125])
    assert math.isclose(rankme(np.diag(shares)), 2**1.75, rel_tol=1e-9)


def test_rankme_of_collapsed_embeddings_is_one():
    assert math.isclose(rankme(np.ones((30, 8))), 1, rel_tol=1e-6)
    assert rankme(np.zeros((30, 8))) == 1

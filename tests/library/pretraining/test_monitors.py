"""Monitors have their known values on embeddings of known shape."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score
from sklearn.neighbors import KNeighborsClassifier

from scanloom.pretraining.monitors import (
    alignment,
    dead_units,
    effective_dimensions,
    embedding_std,
    knn_accuracy,
    lidar,
    probe_accuracy,
    rankme,
    uniformity,
)

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


def test_lidar_counts_the_directions_that_tell_images_apart_beside_those_that_views_differ_in():
    """Images differ evenly in 6 of 20 directions, views in 5 others: 6, however strong the views' own are."""
    images, _ = np.linalg.qr(RNG.normal(size=(200, 6)) - RNG.normal(size=(200, 6)).mean(axis=0))
    images -= images.mean(axis=0)
    images, _ = np.linalg.qr(images)
    views = np.zeros((200, 4, 20))
    views[..., :6] = 10 * images[:, None]
    views[..., 10:15] = RNG.normal(size=(200, 4, 5)) * 50
    views[..., 10:15] -= views[..., 10:15].mean(axis=1, keepdims=True)
    assert math.isclose(lidar(views), 6, rel_tol=1e-6)


@pytest.mark.parametrize(("directions", "dimensions"), [(4, 32), (8, 128)])
def test_lidar_of_large_features_in_few_directions_is_a_number_near_that_of_small_ones(directions, dimensions):
    """Rounding makes variances that are nothing negative beside large ones; LiDAR itself does not ask for the scale."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((40, 1, directions)) + 0.3 * rng.standard_normal((40, 4, directions))
    views = latent @ rng.standard_normal((directions, dimensions))
    for scale in (1e5, 1e10, 1e30):
        assert math.isclose(lidar((scale * views).astype(np.float32)), lidar(views), rel_tol=0.15)


def test_lidar_whitens_by_what_views_differ_in():
    """Two directions in which images differ alike; views differ in one of them, whose share then shrinks to nothing."""
    means = np.linalg.qr(RNG.normal(size=(100, 3)))[0]
    means = np.linalg.qr(means - means.mean(axis=0))[0][:, :2]
    noise = np.tile([[[0.0, 1.0]], [[0.0, -1.0]]], (50, 1, 1)) * np.array([1.0, -1.0])[None, :, None]
    assert math.isclose(lidar(np.repeat(means[:, None], 2, axis=1)), 2, rel_tol=1e-6)
    assert lidar(means[:, None] + noise) < 1.01


def test_alignment_and_uniformity_are_their_formulas_over_all_pairs():
    views = RNG.normal(size=(9, 3, 5))
    unit = views / np.linalg.norm(views, axis=-1, keepdims=True)
    assert math.isclose(alignment(views), np.mean([pdist(image) ** 2 for image in unit]), rel_tol=1e-9)
    expected = np.log(np.mean(np.exp(-2 * pdist(unit[:, 0]) ** 2)))
    assert math.isclose(uniformity(views[:, 0]), expected, rel_tol=1e-9)
    assert abs(alignment(np.repeat(views[:, :1], 3, axis=1))) < 1e-12
    assert abs(uniformity(np.ones((8, 5)))) < 1e-12


def test_dead_units_are_those_that_say_the_same_of_every_image():
    features = RNG.normal(size=(50, 8))
    features[:, :2] = 0.0
    features[:, 2] = 7.0
    assert dead_units(features) == 3 / 8
    assert dead_units(np.ones((50, 8))) == 1
    assert dead_units(np.zeros((50, 8))) == 1


def blobs(count: int, classes: int = 3):
    labels = RNG.integers(0, classes, count)
    return RNG.normal(size=(count, 6)) + 1.2 * np.eye(classes, 6)[labels], labels


@pytest.mark.parametrize("images", [50, 6])
def test_effective_dimensions_count_equal_directions_whatever_their_mean_and_size(images):
    """Three directions of equal variance in seven numbers; one of variance 4 beside one of 1: 5^2 / (16 + 1)."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.standard_normal((7, 7)))[0]
    codes = rng.standard_normal((images, 3))
    codes = np.linalg.qr(codes - codes.mean(axis=0))[0]  # orthogonal, and without mean
    assert effective_dimensions(100 + 9 * codes @ directions[:3]) == pytest.approx(3)
    assert effective_dimensions(codes[:, :2] * [2, 1] @ directions[:2]) == pytest.approx(25 / 17)
    assert effective_dimensions(np.ones((images, 7))) == 0


def test_knn_is_scikit_learns_with_the_same_votes():
    (bank, labels), (queries, wanted) = blobs(150), blobs(80)
    members = np.bincount(labels)

    def weights(distances):
        return np.exp(-distances / 0.07)

    def length_one(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    reference = KNeighborsClassifier(15, weights=weights, metric="cosine").fit(length_one(bank), labels)
    distances, nearest = reference.kneighbors(length_one(queries))
    votes = np.stack([(weights(distances) * (labels[nearest] == c)).sum(axis=1) / members[c] for c in range(3)])
    expected = balanced_accuracy_score(wanted, votes.argmax(axis=0))
    assert math.isclose(knn_accuracy(bank, labels, queries, wanted, 15), expected)


def test_probe_is_scikit_learns_ridge_on_indicators():
    (bank, labels), (queries, wanted) = blobs(150), blobs(80)
    centre, spread = bank.mean(axis=0), bank.std(axis=0)
    weights = (len(labels) / 3 / np.bincount(labels))[labels]
    ridge = Ridge(alpha=1e-2 * len(bank)).fit((bank - centre) / spread, 2.0 * np.eye(3)[labels] - 1, weights)
    expected = balanced_accuracy_score(wanted, ridge.predict((queries - centre) / spread).argmax(axis=1))
    assert expected > 0.5
    assert math.isclose(probe_accuracy(bank, labels, queries, wanted), expected)


@pytest.mark.parametrize("score", [lambda *a: knn_accuracy(*a, 20), probe_accuracy])
def test_features_without_information_score_at_chance_however_rare_a_class_is(score):
    labels = (np.arange(4000) % 20 == 0).astype(int)
    features = RNG.normal(size=(4000, 5))
    assert abs(score(features[:2000], labels[:2000], features[2000:], labels[2000:]) - 0.5) < 0.07
    dead = np.ones((4000, 5))
    assert score(dead[:2000], labels[:2000], dead[2000:], labels[2000:]) == 0.5

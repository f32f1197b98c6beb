"""The three parts of the divergence: against brute force over small data sets whose q(z) is a known mixture."""

import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from scanloom.methods.beta_tc_vae import Settings, build, log_aggregate, parts

RNG = np.random.default_rng(0)
IMAGES, LATENT = 6, 2
MEAN = RNG.normal(0, 1.5, (IMAGES, LATENT)).astype(np.float32)
LOG_VARIANCE = RNG.normal(-1, 0.5, (IMAGES, LATENT)).astype(np.float32)
Z = (MEAN + np.exp(LOG_VARIANCE / 2) * RNG.normal(size=MEAN.shape)).astype(np.float32)


def densities(z):
    """log q(z_j | x_n) in float64 by SciPy, [samples, images, latent]."""
    return stats.norm.logpdf(z[:, None].astype(np.float64), MEAN, np.exp(LOG_VARIANCE / 2).astype(np.float64))


def exact(z):
    """log q(z) and sum_j log q(z_j) of the mixture of all images' posteriors."""
    each = densities(z)
    joint = logsumexp(each.sum(2), axis=1) - np.log(IMAGES)
    return joint, (logsumexp(each, axis=1) - np.log(IMAGES)).sum(1)


def test_stratified_is_exact_where_the_batch_is_the_whole_data_set():
    joint, product = log_aggregate(Z, MEAN, LOG_VARIANCE, IMAGES, "stratified")
    expected_joint, expected_product = exact(Z)
    assert np.allclose(joint, expected_joint, rtol=1e-5)
    assert np.allclose(product, expected_product, rtol=1e-5)
    _, correlation, _ = parts(Z, MEAN, LOG_VARIANCE, IMAGES, "stratified")
    assert np.isclose(float(correlation), np.mean(expected_joint - expected_product), rtol=1e-4)


def test_stratified_is_unbiased_over_all_batches():
    for image in range(IMAGES):
        others = [n for n in range(IMAGES) if n != image]
        found = []
        for pair in itertools.combinations(others, 2):
            batch = [image, *pair]
            joint, _ = log_aggregate(Z[batch], MEAN[batch], LOG_VARIANCE[batch], IMAGES, "stratified")
            found.append(np.exp(float(joint[0])))
        assert np.isclose(np.mean(found), np.exp(exact(Z)[0][image]), rtol=1e-5)


def test_stratified_is_the_papers_estimate_averaged_over_which_image_is_odd():
    """Appendix C.2: 1/N for the own image, 1/M for M - 1 others, (N - M) / (N M) for the last; M + 1 images in all."""
    batch, images = 4, 50
    each = densities(Z[:batch])[:, :batch].sum(2)
    m = batch - 1
    expected = []
    for i in range(batch):
        others = [j for j in range(batch) if j != i]
        estimates = [
            np.exp(each[i, i]) / images
            + sum(np.exp(each[i, j]) / m for j in others if j != odd)
            + np.exp(each[i, odd]) * (images - m) / (images * m)
            for odd in others
        ]
        expected.append(np.log(np.mean(estimates)))
    joint, _ = log_aggregate(Z[:batch], MEAN[:batch], LOG_VARIANCE[:batch], images, "stratified")
    assert np.allclose(joint, expected, rtol=1e-5)


def test_weighted_is_the_papers_equation_5():
    batch, images = 4, 50
    each = densities(Z[:batch])[:, :batch]
    joint, product = log_aggregate(Z[:batch], MEAN[:batch], LOG_VARIANCE[:batch], images, "weighted")
    assert np.allclose(joint, logsumexp(each.sum(2), axis=1) - np.log(batch * images), rtol=1e-5)
    assert np.allclose(product, (logsumexp(each, axis=1) - np.log(batch * images)).sum(1), rtol=1e-5)


@pytest.mark.parametrize("estimate", ["weighted", "stratified"])
def test_the_parts_add_up_to_the_divergence_of_the_samples(estimate):
    total = sum(float(part) for part in parts(Z, MEAN, LOG_VARIANCE, 1000, estimate))
    own = stats.norm.logpdf(Z, MEAN, np.exp(LOG_VARIANCE / 2)).sum(1)
    assert np.isclose(total, np.mean(own - stats.norm.logpdf(Z).sum(1)), rtol=1e-4)


def test_the_parts_of_many_samples_add_up_to_the_closed_form():
    noise = np.random.default_rng(2).normal(size=(4000, IMAGES, LATENT))
    z = MEAN + np.exp(LOG_VARIANCE / 2) * noise
    joint, product = (np.reshape(part, (4000, IMAGES)) for part in exact(z.reshape(-1, LATENT)))
    own = stats.norm.logpdf(z, MEAN, np.exp(LOG_VARIANCE / 2)).sum(2)
    truth = (own - joint).mean(), (joint - product).mean(), (product - stats.norm.logpdf(z).sum(2)).mean()
    kl = 0.5 * (MEAN**2 + np.exp(LOG_VARIANCE) - 1 - LOG_VARIANCE).sum(1).mean()
    assert np.isclose(sum(truth), kl, rtol=0.02)
    batches = [
        [float(p) for p in parts(one.astype(np.float32), MEAN, LOG_VARIANCE, IMAGES, "stratified")] for one in z[:60]
    ]
    assert np.allclose(np.mean(batches, axis=0), truth, atol=0.15)


def test_independent_dimensions_have_no_total_correlation_and_equal_ones_have_all():
    """Posteriors on a full grid: q(z) is the product of its margins. On a diagonal: TC is the entropy of the place."""
    places = np.array([-40.0, 0.0, 40.0], np.float32)
    grid = np.array(list(itertools.product(places, places)), np.float32)
    _, correlation, _ = parts(grid, grid, np.zeros_like(grid), len(grid), "stratified")
    assert abs(float(correlation)) < 1e-4
    diagonal = np.stack([places, places], axis=1)
    _, correlation, _ = parts(diagonal, diagonal, np.zeros_like(diagonal), 3, "stratified")
    assert np.isclose(float(correlation), np.log(3), rtol=1e-4)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"a batch of 6 images is larger than dataset_size \(5\)"):
        log_aggregate(Z, MEAN, LOG_VARIANCE, 5, "weighted")
    with pytest.raises(ValueError, match="needs dataset_size"):
        build(None, Settings(), None, 0)

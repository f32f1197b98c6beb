"""Costs of latent numbers, which of them are used, and the traversal, each against what follows by hand."""

import keras
import numpy as np
import pytest

from scanloom.pretraining.latent_space import (
    LARGEST_ROWS,
    TRAVERSAL,
    active_units,
    dearest,
    described,
    kl_per_dimension,
    traversal,
)

RNG = np.random.default_rng(0)


def plain_generator(latent: int):
    """Images [1, latent, 1] that are the code."""
    noise = keras.Input((latent,))
    return keras.Model(noise, keras.layers.Reshape((1, latent, 1))(noise))


def test_the_kl_of_a_number_is_the_integral_of_its_definition():
    mean, log_variance = RNG.normal(size=(2, 3, 2))
    z = np.linspace(-12, 12, 20001)
    std = np.exp(log_variance / 2)[..., None]
    posterior = np.exp(-0.5 * ((z - mean[..., None]) / std) ** 2) / std / np.sqrt(2 * np.pi)
    log_ratio = -0.5 * ((z - mean[..., None]) / std) ** 2 - np.log(std) + 0.5 * z**2
    integrals = np.sum(posterior * log_ratio, axis=-1) * (z[1] - z[0])
    assert kl_per_dimension(mean, log_variance) == pytest.approx(integrals.mean(axis=0), rel=1e-5)
    assert np.array_equal(kl_per_dimension(np.zeros((4, 2)), np.zeros((4, 2))), [0, 0])


def test_a_number_is_active_if_its_mean_varies_by_more_than_a_hundredth():
    means = np.array([[1.0, -1.0]]).T * np.sqrt([0.0, 0.009, 0.011, 4.0])
    assert active_units(means + 5.0) == 2
    found = described(means, np.zeros_like(means))
    assert (found["images"], found["active_units"]) == (2, 2)
    assert found["kl"] == pytest.approx([0, 0.0045, 0.0055, 2.0])


def test_each_row_moves_one_number_and_leaves_the_others():
    code = np.array([0.1, 0.2, 0.3], np.float32)
    rows = list(traversal(plain_generator(3), code, np.array([1, 0])))
    for number, images in zip((1, 0), rows, strict=True):
        assert images.shape == (9, 1, 3, 1)
        codes = images[:, 0, :, 0]
        assert np.array_equal(codes[:, number], [-2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2])
        others = np.delete(np.arange(3), number)
        assert np.array_equal(codes[:, others], np.tile(code[others], (9, 1)))
    assert np.array_equal(TRAVERSAL, np.arange(-2, 2.5, 0.5))


def test_the_dearest_numbers_come_first_and_of_many_no_others():
    assert list(dearest(np.array([0.5, 2.0, 1.0]))) == [1, 2, 0]
    kl = RNG.random(40)
    assert len(dearest(kl)) == LARGEST_ROWS
    assert kl[dearest(kl)].min() >= np.sort(kl)[40 - LARGEST_ROWS]

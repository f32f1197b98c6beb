"""What a latent space holds: what each number costs, which of them say anything, what an image becomes along each."""

from collections.abc import Iterator

import numpy as np

ACTIVE_VARIANCE = 0.01
TRAVERSAL = np.linspace(-2.0, 2.0, 9, dtype=np.float32)
"""What the number is set to, in standard deviations of the prior: 95 % of what is ever sampled."""
LARGEST_ROWS = 32
"""Latent numbers that are traversed; those after them cost less."""


def kl_per_dimension(mean: np.ndarray, log_variance: np.ndarray) -> np.ndarray:
    """float64 [latent]: mean over images of KL(N(mean, exp(log_variance)) || N(0, 1)) in nats.

    mean, log_variance: [n, latent]. Kingma & Welling, arXiv 1312.6114, appendix B.
    """
    mean, log_variance = np.asarray(mean, np.float64), np.asarray(log_variance, np.float64)
    return 0.5 * np.mean(np.square(mean) + np.exp(log_variance) - 1.0 - log_variance, axis=0)


def active_units(mean: np.ndarray) -> int:
    """How many latent numbers depend on the image: the variance of their posterior mean over images exceeds 0.01.

    mean: [n, latent]. Burda, Grosse & Salakhutdinov, arXiv 1509.00519, section 5.1.
    """
    return int(np.sum(np.var(np.asarray(mean, np.float64), axis=0) > ACTIVE_VARIANCE))


def described(mean: np.ndarray, log_variance: np.ndarray) -> dict:
    """For run.json: over how many `images`, `kl` per latent number in nats, `active_units`."""
    kl = kl_per_dimension(mean, log_variance)
    return {"images": len(mean), "kl": [float(value) for value in kl], "active_units": active_units(mean)}


def dearest(kl: np.ndarray) -> np.ndarray:
    """The latent numbers that are traversed, int [rows]: by falling kl."""
    return np.argsort(-np.asarray(kl), kind="stable")[:LARGEST_ROWS]


def traversal(generator, code: np.ndarray, numbers: np.ndarray) -> Iterator[np.ndarray]:
    """For each of the latent numbers, float32 images [steps, *spatial, channels].

    This number of the code [latent] takes the values of TRAVERSAL, while the others stay as they are.
    """
    for number in numbers:
        codes = np.repeat(np.asarray(code, np.float32)[None], len(TRAVERSAL), axis=0)
        codes[:, number] = TRAVERSAL
        yield np.asarray(generator.predict_on_batch(codes), np.float32)

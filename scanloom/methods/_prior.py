"""Priors of latent codes: independent normal numbers, of one size or falling like the spectrum of the images.

power: sigma_i = c * i^alpha for dimension i = 1, 2, ...; natural images have spectra of principal components that fall
like a power of the component's number, so the first dimensions have much to say and the last ones details.
"""

import numpy as np

LARGEST_EDGE = 64
"""Images are averaged down to edges of about this before their components are computed."""
AT_ONCE = 8
"""Images that are float64 at full size at a time."""


def prior_sigmas(size: int, alpha: float, scale: float | None = None) -> tuple[float, ...]:
    """c * i^alpha for i = 1..size; alpha 0 is the identity. scale: c, or None for a mean of sigma^2 of 1."""
    sigmas = np.arange(1, size + 1, dtype=np.float64) ** alpha
    factor = 1.0 / np.sqrt(np.mean(sigmas**2)) if scale is None else scale
    return tuple(float(sigma) for sigma in factor * sigmas)


def pca_exponent(images: np.ndarray, components: int) -> float:
    """alpha of the power law nearest to the standard deviations of the images' principal components, three decimals.

    The slope of log deviation over log number, by least squares over the first `components`, but never more than half
    of what n images can have: the last ones of a small sample are too small. images: any numbers [n, ...]. Raises
    ValueError where fewer than 3 components vary.
    """
    starts = range(0, len(images), AT_ONCE)
    rows = [_shrunk(np.asarray(images[start : start + AT_ONCE], np.float64)) for start in starts]
    rows = np.concatenate(rows).reshape(len(images), -1)
    rows -= rows.mean(axis=0)
    deviations = np.linalg.svd(rows, compute_uv=False) / np.sqrt(max(1, len(rows) - 1))
    used = min(components, len(rows) // 2, int((deviations > 1e-9 * max(deviations[0], 1e-300)).sum()))
    if used < 3:
        raise ValueError(
            f"{len(rows)} images have {used} usable principal components and alpha: pca needs 3; set it to a number"
        )
    slope, _ = np.polyfit(np.log(np.arange(1, used + 1)), np.log(deviations[:used]), 1)
    return round(float(slope), 3)


def _shrunk(images: np.ndarray) -> np.ndarray:
    """Images [n, *spatial, channels] with means of blocks for pixels where edges are long."""
    for axis in range(1, images.ndim - 1):
        block = -(-images.shape[axis] // LARGEST_EDGE)
        count = images.shape[axis] // block
        images = np.take(images, range(count * block), axis)
        images = images.reshape(*images.shape[:axis], count, block, *images.shape[axis + 1 :]).mean(axis + 1)
    return images

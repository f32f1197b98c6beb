"""A few grey levels or colours, those that describe the series best: the centres of a k-means clustering.

    each pixel p' = round(c_j), j = argmin_j |p - c_j|^2;  the centres c minimise sum over pixels of min_j |p - c_j|^2

Lloyd's algorithm (IEEE Trans. Inf. Theory 28, 1982) with k-means++ starts from a seed, the best of `attempts`. All
channels of a pixel make one point, and one palette serves all slices of a series. Points are grey levels 0 to 255, each
weighted by its number of pixels: a grey series costs 256 points however large it is.
"""

import numpy as np
from pydantic import Field

from scanloom.readers._volume import Volume
from scanloom.steps._grey_levels import to_levels, with_levels
from scanloom.strict_models import Strict

IDEMPOTENT = True
MOST_CHANNELS = 8  # a colour is packed into one integer of up to 64 bits


class Settings(Strict):
    """How many colours, and how hard to look for them."""

    colours: int = Field(4, ge=2, le=10, description="different grey levels or colours that are left")
    attempts: int = Field(10, ge=1, le=50, description="starts; the best result is taken")
    seed: int = Field(0, ge=0, description="seed of the starts")


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with `colours` different values at most; slope and intercept stay."""
    levels = to_levels(volume, "kmeans_quantise")
    channels = levels.shape[-1]
    if channels > MOST_CHANNELS:
        raise ValueError(f"kmeans_quantise takes up to {MOST_CHANNELS} channels; the series has {channels}")
    width = next(width for width in (1, 2, 4, 8) if channels <= width)  # narrow integers sort much faster
    packed = np.zeros((*levels.shape[:3], width), np.uint8)
    packed[..., :channels] = levels
    codes, place, counts = np.unique(packed.view(f"<u{width}"), return_inverse=True, return_counts=True)
    points = codes.view(np.uint8).reshape(-1, width)[:, :channels]
    if len(points) > settings.colours:
        points = _palette(points, counts, settings)
    return with_levels(volume, points[place.ravel()].reshape(levels.shape), "kmeans_quantise")


def _palette(points: np.ndarray, counts: np.ndarray, settings: Settings) -> np.ndarray:
    """uint8 [n, c]: the rounded centre that each of the points uint8 [n, c] belongs to."""
    from sklearn.cluster import KMeans  # a second to import
    from threadpoolctl import threadpool_limits

    means = KMeans(settings.colours, n_init=settings.attempts, random_state=settings.seed)
    with threadpool_limits(1):  # sums in one order: the same centres on any number of cores
        nearest = means.fit_predict(points.astype(np.float64), sample_weight=counts)
    return np.rint(means.cluster_centers_).astype(np.uint8)[nearest]

"""The pointing game: does a map's maximum lie where the lesion is?

Zhang et al., "Top-down Neural Attention by Excitation Backprop", ECCV 2016. One hit or miss per image; the rate is
compared with chance, the share of the image that a random point would have to be in.
"""

import numpy as np
from scipy.ndimage import distance_transform_edt, label
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
RESAMPLES = 2000
FLAT = 1e-6
"""Share of a map's range within which its values are the maximum: rounding of the upsampling."""


def near(masks: np.ndarray, tolerance_px: float) -> np.ndarray:
    """Masks bool `[n, *spatial]` grown by all pixels at most `tolerance_px` (Euclidean) away from them."""
    if tolerance_px == 0:
        return masks
    return np.stack([distance_transform_edt(~mask) <= tolerance_px if mask.any() else mask for mask in masks])


def hits(maps: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Whether each map's maximum lies in its target, bool `[n]`. A map that is constant points nowhere: a miss.

    Upsampled maps are flat around their maximum (at the border of the image beyond the outermost cell's centre, else
    between two pixels): what counts is the middle of that region, or the first of them would be favoured or harmed by
    where it lies. Where the middle is between pixels, half of those next to it must lie in the target.
    """
    return np.array([_hit(map_, target) for map_, target in zip(maps, targets, strict=True)], bool)


def _hit(map_: np.ndarray, target: np.ndarray) -> bool:
    top, bottom = map_.max(), map_.min()
    if top <= bottom:
        return False
    regions, _ = label(map_ >= top - FLAT * (top - bottom), np.ones((3,) * map_.ndim))
    middle = np.argwhere(regions == regions.flat[map_.argmax()]).mean(axis=0)
    next_to_it = np.ix_(*(np.unique([np.floor(place), np.ceil(place)]).astype(int) for place in middle))
    return bool(target[next_to_it].mean() >= 0.5)


def summary(is_hit: np.ndarray, targets: np.ndarray, patients: np.ndarray, seed: int) -> dict:
    """Hits, n, patients, rate with its 95 % interval, and the rate of a random point (`chance`).

    The interval is a percentile bootstrap over patients, whose images are not independent; where all images hit, or all
    miss, resampling shows no spread and the interval is Wilson's with the number of patients for n.
    """
    result = {"hits": int(is_hit.sum()), "n": len(is_hit), "n_patients": len(np.unique(patients))}
    if not len(is_hit):
        return {**result, "rate": None, "low": None, "high": None, "chance": None, "interval": None}
    rate = float(is_hit.mean())
    if 0 < rate < 1:
        low, high = _bootstrap(is_hit, patients, seed)
        interval = "bootstrap over patients"
    else:
        n = result["n_patients"]
        low, high = proportion_confint(rate * n, n, alpha=1 - CONFIDENCE, method="wilson")
        interval = "Wilson over patients"
    chance = float(targets.reshape(len(targets), -1).mean())
    return {**result, "rate": rate, "low": float(low), "high": float(high), "chance": chance, "interval": interval}


def _bootstrap(is_hit: np.ndarray, patients: np.ndarray, seed: int) -> tuple[float, float]:
    _, patient = np.unique(patients, return_inverse=True)
    images, hit = np.bincount(patient), np.bincount(patient, weights=is_hit)
    draws = np.random.default_rng([seed, len(images)]).integers(len(images), size=(RESAMPLES, len(images)))
    rates = hit[draws].sum(axis=1) / images[draws].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    return tuple(np.quantile(rates, [tail, 1 - tail]))

"""What the curve of a learning-rate range test says: where the loss falls, where it is lowest, whether it rose.

The loss stands still, falls, and rises again; a rate near the steepest fall, and below a tenth of the lowest point's,
is a usual choice (Smith, arXiv 1506.01186, section 3.3). The test sees the first updates of a training only: it bounds
the search, it does not end it. NumPy alone: the report smooths its curves in the same way.
"""

import math

import numpy as np
import pandas as pd

WIDTH = 0.03  # standard deviation of the smoothing, as a share of the updates: of the range, however many they are
EARLY = 0.1  # share of the updates that say where the loss starts; nothing is advised among them
FEWEST = 10  # updates that can tell a rise or a fall from noise
RISEN = 2.0  # a loss that rose above its start by so many times its fall has diverged
NOISE = 6.0  # standard deviations between updates that are no rise
CLEAR = 4.5  # standard errors that a fall has to have: the lowest of many points falls by two or three in noise
ROUNDING = 1e-5  # of the loss: what float32 does to a mean over a batch is neither fall nor rise
BEGUN = 0.1  # share of the whole fall at which it has begun
ROOM = 10.0  # between the lowest point's learning rate and the highest that is advised
NORMAL_MEDIAN = 0.6745  # of a standard normal number without its sign


def has_risen(losses: np.ndarray, updates: int) -> bool:
    """Whether the smoothed loss stands above its start by more than noise and more than twice what it had fallen."""
    if len(losses) <= max(FEWEST, _early(updates)):
        return False
    smooth, start = smoothed(losses, updates), losses[: _early(updates)].mean()
    least = max(RISEN * (start - smooth.min()), NOISE * _noise(losses), ROUNDING * abs(start))
    return bool(smooth[-1] - start > least)


def smoothed(losses: np.ndarray, updates: int) -> np.ndarray:
    """float64 [n]: averages around every update with Gaussian weights, WIDTH of the planned updates wide.

    Averages of what lies on both sides do not lag behind the loss, as those of the past do: by about nine updates for a
    moving average with 0.9, which is half of a test of 20.
    """
    width = WIDTH * updates
    reach = math.ceil(4 * width)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    sums, whole = (np.convolve(values, weights)[reach:-reach] for values in (losses, np.ones(len(losses))))
    return sums / whole


def advice(curve: pd.DataFrame, updates: int) -> dict:
    """What the curve says: lowest_at, steepest_at, suggested (learning rates), rose.

    updates: planned ones; a shorter curve ended because the loss rose. suggested: the rate of the steepest fall, but at
    most a tenth of the rate where the loss was lowest. All three are None where the loss never fell by more than noise;
    suggested alone where it would lie below the rates that were tried.
    """
    known = curve.dropna(subset="loss")
    losses, learning_rates = known["loss"].to_numpy(float), known["learning_rate"].to_numpy(float)
    early = _early(updates)
    rose = len(known) < updates or has_risen(losses, updates)
    nothing = {"lowest_at": None, "steepest_at": None, "suggested": None, "rose": rose}
    if len(losses) < max(FEWEST, early + 2):
        return nothing
    # Of all updates, or of the first where these vary more: what lies among them must not pass for a fall.
    start, noise = losses[:early].mean(), max(_noise(losses), _noise(losses[: max(FEWEST, early)]))
    # How far a loss rises above its start says nothing about where it was lowest, and would weigh on its neighbours.
    smooth = smoothed(np.minimum(losses, start + 3 * noise), updates)
    lowest = early + int(smooth[early:].argmin())
    fall = start - smooth[lowest]
    averaged = min(2 * math.sqrt(math.pi) * WIDTH * updates, len(losses))  # updates of which an average is made
    error = noise * math.sqrt(1 / early + 1 / max(1.0, averaged))
    if fall <= max(CLEAR * error, ROUNDING * abs(start)):
        return nothing
    high = np.flatnonzero(smooth[:lowest] >= start - max(BEGUN * fall, 2 * error))
    begin = max(early, int(high[-1])) if len(high) else early
    # What falls and rises again is noise: only what stays below counts as fallen.
    lasting = np.maximum.accumulate(smooth[: lowest + 1][::-1])[::-1]
    slope = np.gradient(lasting, np.log(learning_rates[: lowest + 1]))
    steepest = begin + int(slope[begin:].argmin())
    suggested = min(learning_rates[steepest], learning_rates[lowest] / ROOM)
    found = {"lowest_at": learning_rates[lowest], "steepest_at": learning_rates[steepest], "suggested": suggested}
    rounded = {name: float(f"{value:.3g}") for name, value in found.items()}
    return nothing | rounded | ({"suggested": None} if suggested < learning_rates[0] else {})


def _early(updates: int) -> int:
    return max(3, round(EARLY * updates))


def _noise(losses: np.ndarray) -> float:
    """Standard deviation between updates, by the median of second differences: a trend and a few leaps are none of it.

    0 for fewer than three losses. Second differences of independent losses have six times their variance.
    """
    bends = np.diff(losses, 2)
    return float(np.median(np.abs(bends)) / (NORMAL_MEDIAN * math.sqrt(6))) if len(bends) else 0.0

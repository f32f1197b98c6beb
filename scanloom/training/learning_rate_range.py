"""The learning-rate range test: a rate that rises with every update from far too low to far too high.

Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, section 3.3, with a rate that rises
exponentially. The loss stands still, falls, and rises again; a rate near the steepest fall, and below a tenth of the
lowest point's, is a usual choice. The test sees the first updates of a training only: it bounds the search, it does
not end it.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from scanloom.training.updates import round_of, update

SMOOTHING = 0.9  # of the loss, which differs from batch to batch
EARLY = 0.1  # share of the updates that say where the loss starts and how much it varies
RISEN = 2.0  # a loss that rose above its start by so many times its fall has diverged
NOISE = 6.0  # standard deviations between updates that are no rise
BEGUN = 0.1  # share of the whole fall at which it has begun
ROOM = 10.0  # between the lowest point's learning rate and the highest that is advised


def rates(low: float, high: float, updates: int) -> np.ndarray:
    """float64 [updates]: from low to high, each the same multiple of the one before."""
    return low * (high / low) ** (np.arange(updates) / (updates - 1))


def loss_curve(model, batch_at: Callable, learning_rates: np.ndarray, micro_batches: int = 1) -> pd.DataFrame:
    """step, learning_rate, loss of every update until the loss is not finite or has clearly risen above its start.

    model: compiled, see `method_training`. The update that ends the curve is its last row; its loss may be NaN. Where
    players take turns, every rate is that of a whole round, and the loss the round's mean.
    """
    rows, losses, turns = [], [], round_of(model)
    for step, rate in enumerate(learning_rates):
        model.optimizer.learning_rate = float(rate)
        made = [update(model, batch_at(step * turns + turn), micro_batches)["loss"] for turn in range(turns)]
        loss = sum(made) / turns
        rows.append({"step": step + 1, "learning_rate": float(rate), "loss": loss if math.isfinite(loss) else math.nan})
        losses.append(loss)
        if not math.isfinite(loss) or has_risen(np.array(losses), len(learning_rates)):
            break
    return pd.DataFrame(rows)


def has_risen(losses: np.ndarray, updates: int) -> bool:
    """Whether the smoothed loss stands above its start by more than noise and more than twice what it had fallen."""
    start, noise = _start(losses, updates)
    if len(losses) <= max(3, round(EARLY * updates)):
        return False
    smooth = smoothed(losses)
    return bool(smooth[-1] - start > max(RISEN * (start - smooth.min()), NOISE * noise))


def smoothed(losses: np.ndarray) -> np.ndarray:
    """Exponential moving average, corrected for its start (Kingma & Ba, arXiv 1412.6980, section 3)."""
    weights = SMOOTHING ** np.arange(len(losses))
    sums = np.array([np.dot(weights[: n + 1][::-1], losses[: n + 1]) for n in range(len(losses))])
    return sums / np.cumsum(weights)


def advice(curve: pd.DataFrame, updates: int) -> dict:
    """What the curve says: lowest_at, steepest_at, suggested (learning rates), rose; None where the loss never fell.

    updates: planned ones; a shorter curve ended because the loss rose. suggested: the rate of the steepest fall, but at
    most a tenth of the rate where the loss was lowest.
    """
    known = curve.dropna(subset="loss")
    losses, learning_rates = known["loss"].to_numpy(float), known["learning_rate"].to_numpy(float)
    nothing = {"lowest_at": None, "steepest_at": None, "suggested": None}
    if len(losses) < 4:
        return {**nothing, "rose": True}
    smooth = smoothed(losses)
    start, noise = _start(losses, updates)
    lowest = int(smooth.argmin())
    rose = len(known) < updates or has_risen(losses, updates)
    if lowest == 0 or start - smooth[lowest] <= noise:
        return {**nothing, "rose": rose}
    high = np.flatnonzero(smooth[:lowest] >= start - BEGUN * (start - smooth[lowest]))
    begin = int(high[-1]) if len(high) else 0  # what falls before it rises again is noise
    steepest = begin + int(np.gradient(smooth, np.log(learning_rates))[begin : lowest + 1].argmin())
    suggested = min(learning_rates[steepest], learning_rates[lowest] / ROOM)
    found = {"lowest_at": learning_rates[lowest], "steepest_at": learning_rates[steepest], "suggested": suggested}
    return {name: float(f"{value:.3g}") for name, value in found.items()} | {"rose": rose}


def _start(losses: np.ndarray, updates: int) -> tuple[float, float]:
    """Mean of the first updates, and how much the loss varies from one of them to the next."""
    early = losses[: max(3, round(EARLY * updates))]
    noise = float(np.diff(early).std() / math.sqrt(2)) if len(early) > 2 else 0.0
    return float(early.mean()), noise

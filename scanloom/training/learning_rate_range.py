"""The learning-rate range test: a rate that rises with every update from far too low to far too high.

Smith, Cyclical Learning Rates for Training Neural Networks, arXiv 1506.01186, section 3.3, with a rate that rises
exponentially. What its curve says is for `learning_rate_advice`.
"""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from scanloom.training.learning_rate_advice import has_risen
from scanloom.training.updates import round_of, update


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

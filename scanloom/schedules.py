"""Learning rates as plain functions of the update's number."""

import math
from collections.abc import Callable


def constant(learning_rate: float) -> Callable[[int], float]:
    """step -> `learning_rate`, always."""
    return lambda step: learning_rate


def cosine(learning_rate: float, steps: int, warmup: int = 0) -> Callable[[int], float]:
    """step -> a linear rise over `warmup` updates to `learning_rate`, then half a cosine towards 0 at `steps`.

    Update `warmup` (counted from 0) is the first at the full rate; the last, `steps` - 1, is small but not zero.
    Loshchilov & Hutter, arXiv 1608.03983, equation 5, without restarts.
    """
    if not 0 <= warmup < max(steps, 1):
        raise ValueError(f"warm-up ({warmup} updates) must be shorter than the training ({steps} updates)")

    def at(step: int) -> float:
        if step < warmup:
            return learning_rate * (step + 1) / (warmup + 1)
        return learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    return at

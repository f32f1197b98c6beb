"""Learning rates as plain functions of the update's number, one file per course after the warm-up.

A plug-in has `Settings` and `share(settings, done, steps)`: the share of the full learning rate at update `done`,
counted from 0, of the `steps` that follow the warm-up.
"""

from collections.abc import Callable


def learning_rates(plugin, settings, learning_rate: float, steps: int, warmup: int = 0) -> Callable[[int], float]:
    """step -> a linear rise over `warmup` updates to `learning_rate`, then the plug-in's course until `steps`.

    Update `warmup` (counted from 0) is the first at the full rate.
    """
    if not 0 <= warmup < max(steps, 1):
        raise ValueError(f"warm-up ({warmup} updates) must be shorter than the training ({steps} updates)")

    def at(step: int) -> float:
        if step < warmup:
            return learning_rate * (step + 1) / (warmup + 1)
        return learning_rate * plugin.share(settings, step - warmup, steps - warmup)

    return at

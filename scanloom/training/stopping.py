"""Reasons to end a training early, as pure functions of its history: a resumed training ends where it would have.

`rows` are the rows of the history so far.
"""

import math
from collections.abc import Callable

import numpy as np

from scanloom.training.budget import Budget, DoesNotFit, EarlyStopping, Threshold, better
from scanloom.training.collapse import INTERVALS, SETTLED, lasting_collapse, settled_after


def stop_rule(budget: Budget, decorrelates: bool = False) -> Callable[[list[dict]], str | None]:
    """rows -> why training should end now, or None. decorrelates: see `collapse.signs`."""

    def reason(rows: list[dict]) -> str | None:
        found = None
        if budget.monitors.stop_on_collapse:
            found = lasting_collapse(rows, decorrelates, settled_after(budget.ema_momentum))
        if found is None and budget.stop_at is not None:
            found = _reached(rows, budget.stop_at)
        if found is None and budget.early_stopping is not None:
            found = _no_longer_better(rows, budget.early_stopping)
        return found

    return reason


def slow_to_judge(budget: Budget, images: int) -> str | None:
    """What to say where the rule for collapse ends nothing within `updates`, or looks less than once in an epoch."""
    if not budget.monitors.stop_on_collapse:
        return None
    epoch, settled = images / budget.batch, settled_after(budget.ema_momentum)
    earliest = _earliest(budget.interval, settled)
    if earliest > budget.updates:
        average = "" if budget.ema_momentum is None else f" with ema_momentum {budget.ema_momentum:g}"
        sooner = "" if settled == SETTLED else ", lower ema_momentum"
        sooner += "" if _earliest(1, settled) > budget.updates else ", lower interval"
        return (
            f"no collapse will be stopped{average}: it takes {INTERVALS} looks from update {settled} on, so "
            f"update {earliest} at the earliest, and the training ends at {budget.updates}; raise updates{sooner}"
        )
    if budget.interval <= epoch:
        return None
    once_an_epoch = max(1, int(epoch))
    return (
        f"monitors look once in {budget.interval / epoch:.2g} epochs, so a collapse is stopped after "
        f"{earliest / epoch:.3g} at the earliest; interval: {once_an_epoch} would do it in "
        f"{_earliest(once_an_epoch, settled) / epoch:.3g}"
    )


def _earliest(interval: int, settled: int) -> int:
    """The first update at which a collapse can be told: enough looks, none before the network has settled."""
    return (math.ceil(settled / interval) + INTERVALS - 1) * interval


def _reached(rows: list[dict], threshold: Threshold) -> str | None:
    value = column(rows, threshold.metric)[-1]
    enough = value == threshold.value or better(threshold.metric, value, threshold.value)
    return f"{threshold.metric} is {value:.4g}, good enough by stop_at ({threshold.value:g})" if enough else None


def _no_longer_better(rows: list[dict], rule: EarlyStopping) -> str | None:
    values = column(rows, rule.metric)
    best = None
    for position, value in enumerate(values):
        if np.isfinite(value) and (best is None or better(rule.metric, value, values[best], rule.least)):
            best = position
    since = len(values) - 1 - best if best is not None else len(values)
    if since < rule.patience:
        return None
    was = "no value" if best is None else f"{values[best]:.4g} at update {rows[best]['step']}"
    return f"{rule.metric} has not got better for {since} intervals (best: {was})"


def column(rows: list[dict], name: str) -> list[float]:
    """The history's values of a column. Raises DoesNotFit with the names there are."""
    if name not in rows[-1]:
        known = ", ".join(sorted(key for key, value in rows[-1].items() if isinstance(value, float)))
        raise DoesNotFit(f"the history has no column '{name}'. Known: {known}")
    return [float(row.get(name, np.nan)) for row in rows]

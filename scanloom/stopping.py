"""Reasons to end a training early, as pure functions of its history: a resumed training ends where it would have.

`rows` are the rows of the history so far.
"""

from collections.abc import Callable

import numpy as np

from scanloom.budget import Budget, DoesNotFit, EarlyStopping, Threshold, better
from scanloom.collapse import INTERVALS, lasting_collapse, settled_after


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
    """What to say where the rule for collapse, which wants three rows in a row, needs more than three epochs."""
    epoch = images / budget.batch
    if not budget.monitors.stop_on_collapse or budget.interval <= epoch:
        return None
    return (
        f"monitors look once in {budget.interval / epoch:.2g} epochs, so a collapse is stopped after "
        f"{INTERVALS * budget.interval / epoch:.2g} at the earliest; interval: {max(1, int(epoch))} would do it in "
        f"{INTERVALS}"
    )


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

"""Reasons to end early follow from the rows alone."""

import math

import pytest

from scanloom.training.budget import Budget
from scanloom.training.stopping import slow_to_judge, stop_rule


def rows(**columns) -> list[dict]:
    count = len(next(iter(columns.values())))
    healthy = {"embedding_spread": 0.4, "rankme": 20.0, "dead_units": 0.0, "weight_gain": 0.7}
    return [
        healthy | {"step": 10 * (i + 1), "loss": 1.0} | {name: values[i] for name, values in columns.items()}
        for i in range(count)
    ]


def why(history: list[dict], **settings) -> str | None:
    return stop_rule(Budget(updates=1000, batch=8, **settings))(history)


def test_nothing_ends_a_healthy_training_unless_asked_for():
    assert why(rows(loss=[3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0])) is None


def test_a_threshold_ends_it_as_soon_as_the_column_is_good_enough():
    rule = {"stop_at": {"metric": "knn_level", "value": 0.9}}
    assert why(rows(knn_level=[0.5, 0.89]), **rule) is None
    assert why(rows(knn_level=[0.5, 0.9]), **rule) == "knn_level is 0.9, good enough by stop_at (0.9)"
    assert why(rows(loss=[0.5, 0.04]), stop_at={"metric": "loss", "value": 0.05}).startswith("loss is 0.04")


def test_early_stopping_waits_for_its_patience_from_the_last_best():
    rule = {"early_stopping": {"metric": "loss", "patience": 2}}
    assert why(rows(loss=[3.0, 2.0, 2.5]), **rule) is None
    assert why(rows(loss=[3.0, 2.0, 2.5, 2.1]), **rule) == (
        "loss has not got better for 2 intervals (best: 2 at update 20)"
    )
    assert why(rows(loss=[3.0, 2.0, 2.5, 1.9, 2.0]), **rule) is None
    assert why(rows(loss=[3.0, 2.9, 2.8]), early_stopping={"patience": 2, "least": 0.5}) is not None


def test_more_is_better_for_columns_that_are_no_losses():
    rule = {"early_stopping": {"metric": "rankme", "patience": 2}}
    assert why(rows(rankme=[5.0, 6.0, 7.0, 8.0]), **rule) is None
    assert why(rows(rankme=[8.0, 7.0, 6.0]), **rule).startswith("rankme has not got better for 2 intervals (best: 8 at")


def test_what_is_not_a_number_is_never_better():
    assert why(rows(rankme=[5.0, math.nan, math.nan]), early_stopping={"metric": "rankme", "patience": 2}) is not None


def test_an_unknown_column_is_named_with_those_there_are():
    with pytest.raises(ValueError, match=r"no column 'knn_other'. Known: .*knn_level, loss, rankme"):
        why(rows(knn_level=[0.5]), stop_at={"metric": "knn_other", "value": 1.0})


def test_intervals_longer_than_an_epoch_are_told_with_the_number_that_fits():
    """Nothing is judged before update 32, and three looks are needed: of those at 50, 100, ... the one at 150 ends."""
    budget = Budget(updates=1000, batch=8, interval=50)
    assert slow_to_judge(budget, 400) is None
    advice = slow_to_judge(budget, 80)
    assert "once in 5 epochs" in advice
    assert "stopped after 15 at the earliest; interval: 10 would do it in 6" in advice  # 40, 50, 60
    few = slow_to_judge(Budget(updates=1000, batch=16, interval=50), 64)
    assert "after 37.5 at the earliest; interval: 4 would do it in 10" in few  # 32, 36, 40 of 4 an epoch
    assert slow_to_judge(Budget(updates=1000, batch=8, monitors={"stop_on_collapse": False}), 80) is None


def test_a_training_that_ends_before_a_collapse_can_be_told_says_so():
    """A moving average of momentum 0.999 holds 5 % of its start until update 3,000."""
    averaged = Budget(updates=1000, batch=8, ema_momentum=0.999)
    advice = slow_to_judge(averaged, 8000)
    assert "update 3100 at the earliest, and the training ends at 1000" in advice
    assert advice.endswith("raise updates, lower ema_momentum")
    assert slow_to_judge(averaged.model_copy(update={"updates": 3100}), 8000) is None
    coarse = slow_to_judge(Budget(updates=100, batch=8, interval=50), 8000)
    assert "update 150 at the earliest" in coarse
    assert coarse.endswith("raise updates, lower interval")


@pytest.mark.parametrize("settings", [{}, {"interval": 7}, {"interval": 40}, {"ema_momentum": 0.98, "interval": 30}])
def test_the_update_that_is_told_is_the_one_at_which_the_rule_ends_a_training(settings):
    budget = Budget(updates=10, batch=8, **settings)
    spoilt = rows(dead_units=[1.0] * 50)
    spoilt = [row | {"step": budget.interval * number} for number, row in enumerate(spoilt, start=1)]
    rule = stop_rule(budget)
    ended = next(row["step"] for i, row in enumerate(spoilt) if rule(spoilt[: i + 1]))
    assert f"update {ended} at the earliest" in slow_to_judge(budget, 8000)

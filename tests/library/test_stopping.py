"""Reasons to end early follow from the rows alone."""

import math

import pytest

from scanloom.budget import Budget
from scanloom.stopping import slow_to_judge, stop_rule


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
    budget = Budget(updates=1000, batch=8, interval=50)
    assert slow_to_judge(budget, 400) is None
    advice = slow_to_judge(budget, 80)
    assert "once in 5 epochs" in advice
    assert "stopped after 15 at the earliest; interval: 10 would do it in 3" in advice
    assert slow_to_judge(Budget(updates=1000, batch=8, monitors={"stop_on_collapse": False}), 80) is None

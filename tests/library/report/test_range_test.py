"""What the page says of learning-rate range tests."""

import pandas as pd
import pytest

from scanloom.report import range_test
from scanloom.report.section import Note, Statement

ROW = {
    "trial": "t", "name": "as the study", "seed": 0, "outcome": "finished", "reason": "", "suggested": None,
    "steepest_at": None, "lowest_at": None, "rose": False,
}  # fmt: skip


class Tables:
    """What the page uses of a study's tables: rankings without curves."""

    def __init__(self, *rows):
        numbers = ["suggested", "steepest_at", "lowest_at"]
        self._tests = pd.DataFrame([ROW | row for row in rows]).astype(dict.fromkeys(numbers, float))

    def frame(self, name):
        return self._tests if name.endswith("ranking.parquet") else None


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{}], "The loss did not fall clearly"),
        ([{"lowest_at": 2e-6, "steepest_at": 1e-6}], "begin the range lower"),
        (
            [{"outcome": "refused", "reason": "a batch of 99 images is larger than the corpus"}],
            "No range test finished; the first says: refused: a batch of 99 images is larger than the corpus",
        ),
        ([{"outcome": "refused", "reason": "too large"}, {}], "The loss did not fall clearly"),
    ],
    ids=["flat", "range too high", "none finished", "one finished"],
)
def test_without_a_rate_the_page_says_why_and_of_finished_tests_alone(rows, said):
    first = range_test.blocks(Tables(*rows), "rates")[0]
    assert isinstance(first, Note)
    assert said in first.text


def test_a_rate_to_start_from_stands_first():
    first = range_test.blocks(Tables({"suggested": 0.001, "lowest_at": 0.02, "steepest_at": 0.001}), "rates")[0]
    assert isinstance(first, Statement)
    assert first.text == "A learning rate to start from: 0.001."

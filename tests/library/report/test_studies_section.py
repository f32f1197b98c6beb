"""What the report says of searches: of trials that failed or collapsed, too."""

import json

import numpy as np
import pandas as pd
import pytest

from scanloom.report import heat_map
from scanloom.report.section import Statement, Table
from scanloom.report.sections import studies
from scanloom.report.study_tables import StudyTables

LAYERS, RATE = "methods.barlow_twins.projector", "pretraining.learning_rate"
SEARCH = {"kind": "grid", "seeds": [0], "probe": {"arms": ["frozen"]}}


def row(number, values, score=None, **changed):
    about = {"setting": f"s{number}", "number": number, "name": f"setting {number}", "values": json.dumps(values)}
    told = {"trials": 1, "outcome": "finished", "reason": "", "collapsed": 0.0, "final_loss": 1.0, "rankme": 3.0}
    of_arm = {"frozen": score, "frozen_low": score, "frozen_high": score, "seconds": 1.0}
    behind = {"behind": 0.1, "behind_low": 0.0, "behind_high": 0.2, "tied": number == 1, "rank": number}
    lost = {} if score is not None else {"outcome": "diverged", "reason": "loss is nan", "rank": 0, "tied": False}
    return about | told | of_arm | behind | lost | changed


def shown(tmp_path, rows, **search):
    """The section of one search with this ranking."""
    path = tmp_path / "ranking.parquet"
    pd.DataFrame(rows).astype({"frozen": float, "frozen_low": float, "frozen_high": float}).to_parquet(path)
    config = {"studies": {"tried": SEARCH | search}, "evaluation": {"main_metric": "auroc"}}
    return studies.build(StudyTables({"studies/tried/ranking.parquet": path}, config, {})).blocks


def of_kind(blocks, kind):
    return next(block for block in blocks if isinstance(block, kind))


def test_settings_that_failed_are_counted_as_tried(tmp_path):
    blocks = shown(tmp_path, [row(1, {RATE: 0.1}, 0.8), row(2, {RATE: 1e9})])
    said = of_kind(blocks, Statement)
    assert "Best of 1 setting that finished, of 2, on validation" in said.text
    assert "No other setting finished." in said.detail


def test_a_search_of_which_nothing_finished_says_so_and_lists_the_reasons(tmp_path):
    blocks = shown(tmp_path, [row(1, {RATE: 1e8}), row(2, {RATE: 1e9})])
    assert "None of 2 settings finished" in of_kind(blocks, Statement).text
    assert all("diverged: loss is nan" in cells[1] for cells in of_kind(blocks, Table).rows)


@pytest.mark.parametrize(
    ("collapsed", "trials", "said"),
    [(1.0, 1, " (collapsed)"), (1 / 3, 3, " (collapsed in 1 of 3 pretrainings)"), (0.0, 1, ""), (np.nan, 1, "")],
)
def test_a_collapsed_pretraining_is_named_beside_its_setting(tmp_path, collapsed, trials, said):
    rows = [row(1, {RATE: 0.1}, 0.8, collapsed=collapsed, trials=trials), row(2, {RATE: 0.2}, 0.7)]
    blocks = shown(tmp_path, rows)
    assert of_kind(blocks, Table).rows[0][1] == f"setting 1{said}"
    assert f"setting 1{said}. " in of_kind(blocks, Statement).text


def test_a_row_of_a_grid_that_failed_altogether_stays_in_the_heat_map_in_the_order_it_was_written(
    tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(heat_map, "draw", lambda axes, *given: drawn.append(given))
    layers, scores = [[16, 16], [8], [64]], {(0, 0): 0.7, (0, 1): 0.8, (2, 0): 0.9, (2, 1): 0.6}
    cells = [(i, j) for i in range(3) for j in range(2)]
    rows = [
        row(number, {LAYERS: layers[i], RATE: [0.1, 0.01][j]}, scores.get((i, j)))
        for number, (i, j) in enumerate(cells, 1)
    ]
    best_first = sorted(rows, key=lambda one: -(one["frozen"] or 0))
    shown(tmp_path, best_first)
    values, _, names, columns = drawn[0][:4]
    assert names == ["[16, 16]", "[8]", "[64]"]
    assert columns == ["0.01", "0.1"]
    np.testing.assert_array_equal(values, [[0.8, 0.7], [np.nan, np.nan], [0.6, 0.9]])


def test_a_long_scan_shows_its_base_and_its_best_and_says_of_how_many(tmp_path):
    scores = {number: 0.5 + 0.01 * number for number in range(1, 31)}
    rows = [row(number, {"views": [number]}, score) for number, score in scores.items()][::-1]
    figure = next(
        b for b in shown(tmp_path, rows, kind="transformation_scan") if getattr(b, "name", "").endswith("scores")
    )
    words = figure.panels[-1].svg
    assert "the best 20 of 30 and the base" in words
    assert "setting 1 0.510" in words
    assert "setting 30 0.800" in words

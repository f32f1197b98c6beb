"""Learning-rate range tests in the report: what to start from, and the curve that says so."""

import numpy as np
import pandas as pd

from scanloom.report import wording
from scanloom.report.figure_style import FREE, WIDTH, panel
from scanloom.report.section import Figure, Note, Statement, Table
from scanloom.report.study_tables import StudyTables
from scanloom.training.learning_rate_advice import smoothed

CURVES = 6  # curves drawn
RISE_SHOWN = 1.0  # of the final rise, as a share of the fall: all of it would flatten the fall
FINISHED = "finished"


def blocks(tables: StudyTables, name: str) -> list:
    """The advised rate, the curves and a row per test."""
    tests, curves = (tables.frame(f"studies/{name}/{part}.parquet") for part in ("ranking", "curves"))
    if tests is None:
        return [Note("This range test was not run.")]
    known = tests[tests.suggested.notna()]
    source = (f"studies/{name}/ranking.parquet",)
    if len(known):
        span = sorted({_rate(value) for value in known.suggested}, key=float)
        text = f"A learning rate to start from: {span[0] if len(span) == 1 else f'{span[0]} to {span[-1]}'}."
        detail = "Where the loss falls fastest, at most a tenth of where it is lowest. It bounds a search, no more."
        made = [Statement(text, detail, "open", "first updates only")]
    else:
        made = [Note(_no_advice(tests))]
    if curves is not None and curves.loss.notna().any():
        made.append(_range_figure(name, tests, curves, source))
    rows = tuple(
        (
            row["name"],
            wording.count(row.seed),
            *(_rate(row[column]) for column in ("suggested", "steepest_at", "lowest_at")),
            row.reason if row.outcome != FINISHED else "rose again" if row.rose else "still falling or flat at the end",
        )
        for _, row in tests.iterrows()
    )
    columns = ("Setting", "Seed", "Suggested", "Falls fastest at", "Lowest at", "End")
    return [*made, Table("Range tests", columns, rows, "Learning rates.", source, frozenset(columns[1:5]))]


def _no_advice(tests: pd.DataFrame) -> str:
    """Why there is no rate to start from: tests that did not finish say nothing about the loss."""
    finished = tests[tests.outcome == FINISHED]
    if not len(finished):
        return f"No range test finished; the first says: {tests.outcome.iloc[0]}: {tests.reason.iloc[0]}"
    if finished.lowest_at.notna().any():
        return "The loss was lowest less than ten times above the lowest rate that was tried: begin the range lower."
    return "The loss did not fall clearly at any of these learning rates: widen the range or use more updates."


def _range_figure(name: str, tests: pd.DataFrame, curves: pd.DataFrame, source: tuple[str, ...]) -> Figure:
    shown = tests[tests.trial.isin(curves.trial[curves.loss.notna()])].head(CURVES)

    def draw(axes) -> None:
        low, start = [], []
        for row, colour in zip(shown.itertuples(), FREE, strict=False):
            curve = curves[(curves.trial == row.trial) & curves.loss.notna()]
            axes.plot(curve.learning_rate, curve.loss, color=colour, lw=0.7, alpha=0.4)
            smooth = smoothed(curve.loss.to_numpy(float), len(curve))
            axes.plot(curve.learning_rate, smooth, color=colour, lw=1.8, label=wording.cut(row.name, 40))
            low.append(smooth.min())
            start.append(curve.loss.iloc[: max(3, len(curve) // 10)].mean())
            if np.isfinite(row.suggested):
                axes.axvline(row.suggested, color=colour, lw=1, ls=":")
        axes.set_xscale("log")
        fall = max(max(start) - min(low), 1e-9)
        axes.set_ylim(min(low) - 0.2 * fall, max(start) + RISE_SHOWN * fall)
        axes.set_xlabel("learning rate")
        axes.set_title("Loss while the learning rate rises")
        if len(shown) > 1:
            axes.legend(loc="best", fontsize=8)

    words = "; ".join(f"{row['name']} suggests {_rate(row.suggested)}" for _, row in shown.iterrows())
    return Figure(
        name=f"study-{name}-range",
        panels=(panel(f"study-{name}-range", f"Loss over learning rate: {words}.", draw, (2 * WIDTH, 3.2)),),
        caption="Loss at every update (pale) and smoothed. Dotted: the suggested rate.",
        look="the flat part, the fall, and the rise: the useful rates are those of the fall.",
        bad="no fall, or no rise: the range is too narrow.",
        sources=source,
        wide=True,
    )


def _rate(value) -> str:
    return wording.NOTHING if wording.missing(value) else f"{value:.3g}"

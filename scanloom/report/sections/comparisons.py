"""Each arm against the baseline of the same schedule and fraction: paired differences with intervals."""

import pandas as pd

from scanloom.report import wording
from scanloom.report.figure_style import INK, MUTED, PAPER, WIDTH, method_styles, panel
from scanloom.report.section import Figure, Heading, Note, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Differences from the baseline"
ORDER = 30
LEAD = (
    "The same test patients and the same seeds on both sides, so that what they share cancels. The verdict rests on "
    "these intervals, corrected for the number of comparisons, and never on the means alone."
)


def build(tables: StudyTables) -> Section:
    """A forest of paired differences in the main metric, the comparisons of all metrics, and the labels saved."""
    blocks = []
    for task in tables.tasks:
        comparisons = tables.evaluation(task, "comparisons")
        blocks.append(Heading(wording.title(task)))
        if comparisons is None or comparisons.empty:
            blocks.append(
                Note("Nothing to compare: the study has no method beside the baseline, or was not evaluated.")
            )
            continue
        blocks += [_forest(tables, task, comparisons), _table(task, comparisons)]
        savings = tables.evaluation(task, "savings")
        if savings is not None and len(savings):
            blocks.append(_savings(tables, task, savings))
    return Section(TITLE, LEAD, tuple(blocks))


def _forest(tables: StudyTables, task: str, comparisons: pd.DataFrame) -> Figure:
    metric = tables.main_metric
    styles = method_styles(tables.methods)
    main = comparisons[comparisons.metric == metric]
    spread = main[["low", "high", "difference"]].astype(float).abs().max().max()
    reach = 1.12 * (spread if spread > 0 else 0.05)
    panels = []
    for schedule in main.schedule.unique():
        rows = main[main.schedule == schedule].sort_values(["method", "fraction"], ascending=[True, True])
        title = f"{wording.capital(wording.metric(metric))}, {schedule}"
        panels.append(
            panel(
                f"comparisons-{task}-{schedule}",
                f"Paired differences in {title}: " + "; ".join(_row_in_words(row) for row in rows.itertuples()) + ".",
                lambda axes, rows=rows, title=title: _draw(axes, rows, title, reach, styles),
                (WIDTH, 1.35 + 0.36 * len(rows)),
            )
        )
    direction = "right" if wording.higher_is_better(metric) else "left"
    return Figure(
        name=f"{task}-comparisons",
        panels=tuple(panels),
        caption=f"Method minus {wording.title(main.baseline_method.iloc[0]).lower()} in {wording.metric(metric)}, with "
        "95 % intervals. Filled: evidence of a difference after Holm's correction. Hollow: none, or not testable.",
        look=f"marks {direction} of the line with their whole interval: there pretraining helped.",
        bad="wide intervals around zero: the test set is too small to tell, whatever the means say.",
        sources=(f"{task}/evaluation/comparisons.parquet",),
    )


def _draw(axes, rows: pd.DataFrame, title: str, reach: float, styles: dict) -> None:
    axes.axvline(0, color=INK, lw=1)
    for place, row in enumerate(rows.itertuples()):
        style = styles[row.method]
        certain = row.finding in ("evidence for", "evidence against")
        axes.plot([row.low, row.high], [place, place], color=style.colour, lw=2, solid_capstyle="round")
        axes.plot(
            row.difference,
            place,
            marker=style.marker,
            color=style.colour,
            markerfacecolor=style.colour if certain else PAPER,
            markeredgecolor=style.colour,
            markersize=7,
        )
    axes.set_yticks(
        range(len(rows)), [f"{wording.title(r.method)}, {wording.fraction(r.fraction)}" for r in rows.itertuples()]
    )
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(-reach, reach)
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("difference from the baseline", color=MUTED)
    axes.set_title(title)


def _row_in_words(row) -> str:
    return (
        f"{wording.title(row.method)} at {wording.fraction(row.fraction)} {wording.signed(row.difference)} "
        f"{wording.bounds(row.low, row.high)}, {row.finding}"
    )


def _table(task: str, comparisons: pd.DataFrame) -> Table:
    rows = [
        (
            f"{wording.title(row.method)}, {row.schedule}",
            wording.fraction(row.fraction),
            wording.metric(row.metric),
            wording.signed(row.difference),
            wording.bounds(row.low, row.high),
            wording.p_value(row.p_holm),
            row.finding,
            row.reason,
        )
        for row in comparisons.itertuples()
    ]
    return Table(
        title="All comparisons",
        columns=("Arm", "Labels", "Metric", "Difference", "95 % interval", "p (Holm)", "Finding", "Reason"),
        rows=tuple(rows),
        caption="Two-sided bootstrap p-values, corrected by Holm over the arms of one metric.",
        sources=(f"{task}/evaluation/comparisons.parquet",),
        numeric=frozenset(["Labels", "Difference", "p (Holm)"]),
        folded=True,
    )


def _savings(tables: StudyTables, task: str, savings: pd.DataFrame) -> Table:
    main = savings[savings.metric == tables.main_metric]
    rows = [
        (
            f"{wording.title(row.method)}, {row.schedule}",
            wording.count(row.labelled_patients),
            _worth(row.baseline_labels, row.censored),
            f"{_worth(row.baseline_labels_low, row.low_censored)} to "
            f"{_worth(row.baseline_labels_high, row.high_censored)}",
            wording.NOTHING if wording.missing(row.factor) else f"{row.factor:.1f} ×",
            row.reason or row.finding,
        )
        for row in main.itertuples()
    ]
    return Table(
        title=f"Labelled patients the baseline needs for the same {wording.metric(tables.main_metric)}",
        columns=("Arm", "Patients it used", "Baseline needs", "95 % interval", "Factor", "Finding"),
        rows=tuple(rows),
        caption="Read off the baseline's own curve, never beyond it: where the baseline does not reach the score with "
        "all its labels, the table says so. A factor counts as saving only where the finding is evidence for.",
        sources=(f"{task}/evaluation/savings.parquet",),
        numeric=frozenset(["Patients it used", "Baseline needs", "Factor"]),
    )


def _worth(labels: float, censored: str) -> str:
    if not wording.missing(labels):
        return wording.count(labels)
    return {"above": "more than all", "below": "fewer than the fewest"}.get(censored, wording.NOTHING)

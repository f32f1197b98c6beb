"""How good each method is with how many labels: one curve per method, one panel per metric and schedule."""

import numpy as np
import pandas as pd
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from scanloom.report import wording
from scanloom.report.figure_style import PAPER, MethodStyle, method_styles, panel
from scanloom.report.section import Figure, Heading, Note, Panel, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Label efficiency"
ORDER = 20
LEAD = (
    "Test scores against the number of labelled training patients. Every method had the same encoder, views, updates "
    "and schedule search, so what lies between two curves is what pretraining did."
)


def build(tables: StudyTables) -> Section:
    """Curves of the main metric, then of the others, then the numbers."""
    blocks = []
    for task in tables.tasks:
        blocks += _task(tables, task)
    return Section(TITLE, LEAD, tuple(blocks))


def _task(tables: StudyTables, task: str) -> list:
    metrics = tables.evaluation(task, "metrics")
    if metrics is None or metrics.empty:
        return [Heading(wording.title(task)), Note("There are no evaluation metrics of this task to show.")]
    source = (f"{task}/evaluation/metrics.parquet",)
    styles = method_styles(tables.methods)
    test = metrics[metrics.split == "test"]
    n = test.iloc[0]
    main = tables.main_metric
    names = [name for name in tables.metrics if name in set(test.metric)]
    others = [name for name in names if name != main]
    blocks = [
        Heading(wording.title(task)),
        Figure(
            name=f"{task}-label_efficiency",
            panels=_panels(test, task, [main], styles),
            caption=f"{wording.metric(main)} on {wording.count(n.n_patients)} test patients. Lines: mean over seeds. "
            "Bands: 95 % intervals over patients and seeds. Small dots: single seeds, the lowest and the highest.",
            look="the left end: with few labels a useful encoder stays clear of the grey baseline, band and all.",
            bad="bands that overlap everywhere, curves that fall with more labels, or seeds scattered wider than the "
            "distance between curves.",
            sources=source,
        ),
    ]
    if others:
        blocks.append(
            Figure(
                name=f"{task}-label_efficiency_other_metrics",
                panels=_panels(test, task, others, styles),
                caption="The other metrics of the same predictions.",
                look="whether they tell the same story as the main metric. For the Brier score lower is better.",
                bad="a method that leads in one metric and trails in the others: the lead is then one of thresholds.",
                sources=source,
            )
        )
    return [*blocks, _table(test, source)]


def _panels(test: pd.DataFrame, task: str, metrics: list[str], styles: dict[str, MethodStyle]) -> tuple[Panel, ...]:
    panels = []
    for metric in metrics:
        shown = test[test.metric == metric]
        limits = _limits(shown)
        for schedule in shown.schedule.unique():
            rows = shown[shown.schedule == schedule]
            title = f"{wording.capital(wording.metric(metric))}, {schedule}"
            panels.append(
                panel(
                    f"label_efficiency-{task}-{metric}-{schedule}",
                    _in_words(title, rows),
                    lambda axes, rows=rows, title=title, limits=limits: _draw(axes, rows, title, limits, styles),
                )
            )
    return tuple(panels)


def _draw(axes, rows: pd.DataFrame, title: str, limits: tuple[float, float], styles: dict[str, MethodStyle]) -> None:
    # The baseline first: methods are drawn over it, and the legend starts with what they are compared with.
    for method in sorted(rows.method.unique(), key=lambda name: (name != "from_scratch", name)):
        style, arm = styles[method], rows[rows.method == method].sort_values("labelled_patients")
        x = arm.labelled_patients.to_numpy(float)
        axes.fill_between(x, arm.low.astype(float), arm.high.astype(float), color=style.colour, alpha=0.16, lw=0)
        axes.plot(
            x,
            arm.value,
            color=style.colour,
            marker=style.marker,
            markeredgecolor=PAPER,
            label=wording.title(method),
            zorder=3,
        )
        for ends in (arm.seed_min, arm.seed_max):
            axes.plot(x, ends, ".", color=style.colour, markersize=3.2, alpha=0.85, zorder=2)
    axes.set_xscale("log")
    ticks = rows.drop_duplicates("fraction").sort_values("labelled_patients")
    axes.xaxis.set_major_locator(FixedLocator(ticks.labelled_patients.to_numpy(float)))
    labels = zip(ticks.labelled_patients, ticks.fraction, strict=True)
    axes.xaxis.set_major_formatter(FixedFormatter([f"{round(n)}\n{wording.fraction(f)}" for n, f in labels]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.margins(x=0.06)
    axes.set_ylim(*limits)
    axes.set_xlabel("labelled training patients")
    axes.set_title(title)
    axes.legend(loc="best")


def _limits(rows: pd.DataFrame) -> tuple[float, float]:
    """One range for all schedules of a metric: panels side by side must compare."""
    values = rows[["value", "low", "high", "seed_min", "seed_max"]].to_numpy(float)
    if not np.isfinite(values).any():
        return 0.0, 1.0
    low, high = np.nanmin(values), np.nanmax(values)
    margin = 0.06 * (high - low) or 0.05
    return low - margin, high + margin


def _in_words(title: str, rows: pd.DataFrame) -> str:
    """The panel for readers who do not see it: every curve's ends."""
    curves = []
    for method, arm in rows.groupby("method"):
        arm = arm.sort_values("labelled_patients")
        first, last = arm.iloc[0], arm.iloc[-1]
        curves.append(
            f"{wording.title(method)} {wording.number(first.value)} at {wording.count(first.labelled_patients)} and "
            f"{wording.number(last.value)} at {wording.count(last.labelled_patients)} labelled patients"
        )
    return f"{title} against labelled patients: {'; '.join(curves)}."


def _table(test: pd.DataFrame, source: tuple[str, ...]) -> Table:
    names = list(test.metric.unique())
    keys = ["schedule", "fraction", "method"]
    rows = []
    for (schedule, fraction, method), arm in test.sort_values(keys).groupby(keys, sort=False):
        by_metric = arm.set_index("metric")
        cells = [by_metric.loc[name] for name in names]
        rows.append(
            (
                f"{wording.title(method)}, {schedule}",
                wording.fraction(fraction),
                wording.count(arm.labelled_patients.iloc[0]),
                *(wording.interval(cell.value, cell.low, cell.high) for cell in cells),
            )
        )
    return Table(
        title="All test scores",
        columns=("Arm", "Labels", "Patients", *(wording.capital(wording.metric(name)) for name in names)),
        rows=tuple(rows),
        caption="Mean over seeds with 95 % intervals over patients and seeds; patients: labelled training patients.",
        sources=source,
        numeric=frozenset(["Labels", "Patients"]),
        folded=True,
    )

"""Whether probabilities mean what they say: reliability, Brier scores, and probabilities per outcome."""

import numpy as np
import pandas as pd

from scanloom.report import wording
from scanloom.report.figure_style import INK, MUTED, PAPER, WIDTH, method_styles, panel
from scanloom.report.section import Figure, Heading, Note, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Calibration"
ORDER = 50
LEAD = (
    "A probability of 0.8 should come true in 8 of 10 cases. A model can rank cases perfectly and still be wrong here; "
    "then a threshold of 0.5 means nothing."
)


def build(tables: StudyTables) -> Section:
    """Reliability diagrams, the distribution of probabilities per outcome, and Brier scores."""
    blocks = []
    for task in tables.tasks:
        bins = tables.evaluation(task, "calibration")
        blocks.append(Heading(wording.title(task)))
        if bins is None or bins.empty:
            blocks.append(Note("There is no calibration table of this task to show."))
            continue
        blocks.append(_reliability(tables, task, bins))
        blocks.append(_distribution(tables, task))
        blocks += _brier(tables, task)
    return Section(TITLE, LEAD, tuple(blocks))


def _ends(fractions: pd.Series) -> list[float]:
    """The fewest and the most labels: between them little new is seen."""
    return sorted({fractions.min(), fractions.max()})


def _reliability(tables: StudyTables, task: str, bins: pd.DataFrame) -> Figure:
    styles = method_styles(tables.methods)
    panels = []
    for schedule in bins.schedule.unique():
        for fraction in _ends(bins.fraction):
            rows = bins[(bins.schedule == schedule) & (bins.fraction == fraction)]
            if rows.empty:
                continue
            title = f"{wording.title(schedule)}, {wording.fraction(fraction)} of labels"
            panels.append(
                panel(
                    f"calibration-{task}-{schedule}-{fraction:g}",
                    f"Reliability diagram, {title}: largest distance from the diagonal "
                    + ", ".join(
                        f"{wording.title(method)} {wording.number(_gap(part), 2)}"
                        for method, part in rows.groupby("method")
                    ),
                    lambda axes, rows=rows, title=title: _draw_reliability(axes, rows, title, styles),
                    (WIDTH, 3.5),
                )
            )
    binary = len(tables.classes(task)) == 2
    said = f"the predicted probability of “{tables.classes(task)[1]}”" if binary else "the confidence of the prediction"
    return Figure(
        name=f"{task}-calibration",
        panels=tuple(panels),
        caption=f"Observed share against {said}, in bins of equal size over all seeds, with 95 % intervals that count "
        "each patient once. The dashed line is perfect calibration.",
        look="how close the marks stay to the dashed line over their whole range.",
        bad="a flat curve (over-confident), a steep one (under-confident), or one wholly above or below the line "
        "(prevalence differs between training and test).",
        sources=(f"{task}/evaluation/calibration.parquet",),
    )


def _gap(rows: pd.DataFrame) -> float:
    return float((rows.observed - rows.mean_predicted).abs().max())


def _draw_reliability(axes, rows: pd.DataFrame, title: str, styles: dict) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
    for method in sorted(rows.method.unique(), key=lambda name: (name != "from_scratch", name)):
        style, part = styles[method], rows[rows.method == method].sort_values("bin")
        axes.vlines(part.mean_predicted, part.low, part.high, color=style.colour, lw=1, alpha=0.55)
        axes.plot(
            part.mean_predicted,
            part.observed,
            color=style.colour,
            marker=style.marker,
            markeredgecolor=PAPER,
            lw=1.4,
            label=wording.title(method),
        )
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="predicted", ylabel="observed")
    axes.set_aspect("equal", adjustable="box")
    axes.set_title(title)
    axes.legend(loc="upper left", borderaxespad=0.2)


def _distribution(tables: StudyTables, task: str):
    predictions = tables.predictions(task)
    if predictions is None:
        return Note("The distribution of probabilities per outcome needs the prediction tables, which were not given.")
    test = predictions[predictions.split == "test"]
    classes = tables.classes(task)
    schedule = test.schedule.iloc[-1] if "finetuned" not in set(test.schedule) else "finetuned"
    fraction = test.fraction.max()
    panels = []
    for method in tables.methods:
        rows = test[(test.method == method) & (test.schedule == schedule) & (test.fraction == fraction)]
        if rows.empty:
            continue
        said = _probability_of_interest(rows, len(classes))
        title = f"{wording.title(method)}, {schedule}, {wording.fraction(fraction)}"
        medians = ", ".join(
            f"{name} {wording.number(np.median(said[rows.label == k]) if (rows.label == k).any() else np.nan, 2)}"
            for k, name in enumerate(classes)
        )
        colour = method_styles(tables.methods)[method].colour
        panels.append(
            panel(
                f"probabilities-{task}-{method}",
                f"Distribution of probabilities per outcome, {title}: medians {medians}.",
                lambda axes, rows=rows, said=said, title=title, colour=colour: _draw_distribution(
                    axes, said, rows.label.to_numpy(), classes, title, colour
                ),
                (WIDTH, 1.5 + 0.42 * len(classes)),
            )
        )
    what = f"of “{classes[1]}”" if len(classes) == 2 else "given to the true class"
    return Figure(
        name=f"{task}-probabilities",
        panels=tuple(panels),
        caption=f"Probability {what} on test, one row per true class, all seeds. Ticks: medians.",
        look="how far apart the rows are: that distance is what any threshold has to work with.",
        bad="rows on top of each other, or all mass at 0 and 1 with mistakes among it.",
        sources=tuple(tables.prediction_tables(task)),
    )


def _probability_of_interest(rows: pd.DataFrame, classes: int) -> np.ndarray:
    """p1 of two classes; of more, the probability of the true class."""
    probabilities = rows[[f"p{k}" for k in range(classes)]].to_numpy(float)
    return probabilities[:, 1] if classes == 2 else probabilities[np.arange(len(rows)), rows.label.to_numpy(int)]


def _draw_distribution(axes, said: np.ndarray, labels: np.ndarray, classes: list[str], title: str, colour: str) -> None:
    edges = np.linspace(0, 1, 31)
    for k in range(len(classes)):
        values = said[labels == k]
        if not len(values):
            continue
        share = np.histogram(values, edges)[0] / len(values)
        height = 0.8 * share / max(share.max(), 1e-12)
        axes.bar(
            edges[:-1], height, width=np.diff(edges), bottom=k, align="edge", color=colour, alpha=0.4 + 0.45 * (k > 0)
        )
        axes.plot([np.median(values)] * 2, [k, k + 0.85], color=INK, lw=1.4)
    axes.set_yticks(np.arange(len(classes)) + 0.3, classes)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set(xlim=(0, 1), ylim=(-0.05, len(classes)), xlabel="predicted probability")
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.set_title(title)


def _brier(tables: StudyTables, task: str) -> list:
    metrics = tables.evaluation(task, "metrics")
    if metrics is None or "brier" not in set(metrics.metric):
        return [Note("The study does not measure the Brier score (evaluation.metrics).")]
    rows = metrics[(metrics.metric == "brier") & (metrics.split == "test")]
    arms = rows.sort_values(["schedule", "method"]).groupby(["schedule", "method"], sort=False)
    fractions = sorted(rows.fraction.unique())
    table = []
    for (schedule, method), arm in arms:
        by_fraction = arm.set_index("fraction")
        cells = [
            wording.interval(*by_fraction.loc[f, ["value", "low", "high"]])
            if f in by_fraction.index
            else wording.NOTHING
            for f in fractions
        ]
        table.append((f"{wording.title(method)}, {schedule}", *cells))
    return [
        Table(
            title="Brier score",
            columns=("Arm", *(f"{wording.fraction(f)} of labels" for f in fractions)),
            rows=tuple(table),
            caption="Mean squared distance between probability and outcome, with 95 % intervals; lower is better.",
            sources=(f"{task}/evaluation/metrics.parquet",),
        )
    ]

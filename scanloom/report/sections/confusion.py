"""Which classes are taken for which, at the most labels."""

import numpy as np
import pandas as pd

from scanloom.report import wording
from scanloom.report.figure_style import INK, MUTED, RULE, WIDTH, method_styles, panel
from scanloom.report.section import Figure, Heading, Note, Section
from scanloom.report.study_tables import StudyTables

TITLE = "Right and wrong"
ORDER = 55
LEAD = "Test predictions by true and predicted class with all labels, summed over seeds."


def build(tables: StudyTables) -> Section:
    """One confusion matrix per arm at the largest fraction."""
    blocks = []
    for task in tables.tasks:
        confusion = tables.evaluation(task, "confusion")
        blocks.append(Heading(wording.title(task)))
        if confusion is None or confusion.empty:
            blocks.append(Note("There is no confusion table of this task to show."))
            continue
        blocks.append(_figure(tables, task, confusion[confusion.fraction == confusion.fraction.max()]))
    return Section(TITLE, LEAD, tuple(blocks))


def _figure(tables: StudyTables, task: str, confusion: pd.DataFrame) -> Figure:
    classes = tables.classes(task)
    styles = method_styles(tables.methods)
    panels = []
    for (schedule, method), rows in confusion.groupby(["schedule", "method"]):
        counts = np.zeros((len(classes), len(classes)), int)
        counts[rows.true.to_numpy(int), rows.predicted.to_numpy(int)] = rows.n.to_numpy(int)
        title = f"{wording.title(method)}, {schedule}"
        words = "; ".join(
            f"of {counts[k].sum()} {name}, {counts[k, k]} are predicted {name}" for k, name in enumerate(classes)
        )
        panels.append(
            panel(
                f"confusion-{task}-{method}-{schedule}",
                f"Confusion matrix, {title}: {words}.",
                lambda axes, counts=counts, title=title, colour=styles[method].colour: _draw(
                    axes, counts, classes, title, colour
                ),
                (WIDTH, 1.3 + 0.5 * len(classes)),
            )
        )
    return Figure(
        name=f"{task}-confusion",
        panels=tuple(panels),
        caption="Rows: the truth. Columns: the prediction. Share of the row, and predictions over all seeds.",
        look="the diagonal of the rare class: that is where labels are short.",
        bad="one column that takes everything: the model has learned the prevalence, not the images.",
        sources=(f"{task}/evaluation/confusion.parquet",),
    )


def _draw(axes, counts: np.ndarray, classes: list[str], title: str, colour: str) -> None:
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(classes)
    for row in range(size):
        for column in range(size):
            axes.fill_between(
                [column, column + 1], row, row + 1, color=colour, alpha=float(0.35 * share[row, column]), lw=0
            )
            text = wording.percent(share[row, column])
            text = text if size > 6 else f"{text} ({counts[row, column]:,})"
            axes.text(
                column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=9 if size <= 4 else 7, color=INK
            )
    axes.hlines(range(size + 1), 0, size, color=RULE, lw=0.8)
    axes.vlines(range(size + 1), 0, size, color=RULE, lw=0.8)
    ticks = np.arange(size) + 0.5
    axes.set_xticks(ticks, classes, rotation=30 if size > 4 else 0, ha="right" if size > 4 else "center")
    axes.set_yticks(ticks, classes)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set(xlim=(0, size), ylim=(size, 0))
    axes.set_xlabel("predicted", color=MUTED)
    axes.set_ylabel("true", color=MUTED)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title(title)

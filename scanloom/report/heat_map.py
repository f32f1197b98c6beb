"""Two settings against each other: a grid of cells, darker where the value is higher, each with its text."""

import numpy as np

from scanloom.report.figure_style import BLUE, INK, MUTED, RULE

LEAST, MOST = 0.06, 0.55  # opacity of the lowest and the highest value; text stays readable on both


def draw(
    axes,
    values: np.ndarray,
    texts: list[list[str]],
    rows: list[str],
    columns: list[str],
    title: str,
    names: tuple[str, str],
    least_span: float = 0.0,
) -> None:
    """values: float [rows, columns], NaN for cells that have none (hatched); names: of the rows, of the columns.

    least_span: difference of values from palest to darkest where they differ by less.
    """
    opacities = opacity(values, least_span)
    for row in range(len(rows)):
        for column in range(len(columns)):
            alpha = opacities[row, column]
            area = dict(x=[column, column + 1], y1=row, y2=row + 1, lw=0)
            if np.isfinite(alpha):
                axes.fill_between(**area, color=BLUE, alpha=float(alpha))
            else:
                axes.fill_between(**area, facecolor="none", edgecolor=RULE, hatch="////")
            text = texts[row][column]
            axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=8, color=INK)
    axes.hlines(range(len(rows) + 1), 0, len(columns), color=RULE, lw=0.8)
    axes.vlines(range(len(columns) + 1), 0, len(rows), color=RULE, lw=0.8)
    tilted = max(map(len, columns), default=0) > 12
    axes.set_xticks(
        np.arange(len(columns)) + 0.5, columns, rotation=25 if tilted else 0, ha="right" if tilted else "center"
    )
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0, labelcolor=INK)
    axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
    axes.set_ylabel(names[0], color=MUTED)
    axes.set_xlabel(names[1], color=MUTED)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_title(title)


def opacity(values: np.ndarray, least_span: float = 0.0) -> np.ndarray:
    """LEAST to MOST over the range of the values, at least over least_span around its middle; NaN where they are."""
    known = values[np.isfinite(values)]
    if not len(known):
        return np.full(values.shape, np.nan)
    middle, span = (known.min() + known.max()) / 2, max(np.ptp(known), least_span)
    share = 0.5 + (values - middle) / (span or 1.0)
    return np.where(np.isfinite(values), LEAST + share * (MOST - LEAST), np.nan)

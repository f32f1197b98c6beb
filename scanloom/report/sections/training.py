"""How pretraining went: loss, learning rate, and whether the features collapsed."""

import numpy as np
import pandas as pd

from scanloom.report import wording
from scanloom.report.figure_style import WIDTH, method_styles, panel
from scanloom.report.section import Figure, Heading, Note, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Pretraining"
ORDER = 80
LEAD = (
    "A falling loss is not enough: an encoder can lower it by giving every image the same features. Spread and "
    "effective rank of the features show whether that happened."
)
POINTS = 300  # per curve: more cannot be seen and make the page heavy
CURVES = (
    ("loss", "Loss", "linear"),
    ("embedding_std", "Spread of features", "linear"),
    ("rankme", "Effective rank (RankMe)", "linear"),
    ("lidar", "Directions that tell images apart (LiDAR)", "linear"),
    ("learning_rate", "Learning rate", "linear"),
)
SCORES = {"knn_": "kNN", "probe_": "Linear probe"}  # of labels, on training patients: what these columns begin with
NUMBERS = (
    *("Updates", "Images per s", "Waiting for data"),
    *("Last loss", "Last spread", "Last RankMe", "Last LiDAR", "Dead units"),
)
WAIT_LIMIT = 0.03  # of the time: above it, training waits for data


def build(tables: StudyTables) -> Section:
    """Per corpus: curves of every trained method, and one row per run."""
    blocks = []
    for corpus in tables.corpora:
        blocks.append(Heading(wording.title(corpus)))
        histories = {method: _history(tables, corpus, method) for method in tables.methods}
        trained = {m: history for m, history in histories.items() if history is not None and (history.step > 0).any()}
        untrained = [wording.title(method) for method, history in histories.items() if method not in trained]
        if trained:
            blocks += [*_remarks(tables, corpus, trained), _figure(tables, corpus, trained)]
            blocks += [_runs(tables, corpus, trained)]
        if untrained:
            blocks.append(Note(f"No curve: {', '.join(untrained)} (nothing is pretrained, or no history was given)."))
    return Section(TITLE, LEAD, tuple(blocks))


def _name(corpus: str, method: str) -> str:
    return f"{corpus}/pretrained/{method}/history.parquet"


def _history(tables: StudyTables, corpus: str, method: str) -> pd.DataFrame | None:
    return tables.frame(_name(corpus, method))


def _remarks(tables: StudyTables, corpus: str, trained: dict[str, pd.DataFrame]) -> list[Note]:
    """What the reader must know of single runs: collapse, an early end, retries, settings of their own."""
    notes = []
    overrides = tables.config["pretraining"].get("overrides", {})
    for method in trained:
        run, name = tables.record(f"{corpus}/pretrained/{method}/run.json") or {}, wording.title(method)
        if run.get("collapse_cause"):
            said = f"{name}: the features collapsed. {run['collapse_cause']}. Its scores say nothing about the method."
            notes.append(Note(said, "bad"))
        elif run.get("stopped"):
            stopped = run["stopped"]
            notes.append(Note(f"{name} ended at update {wording.count(stopped['update'])}: {stopped['why']}."))
        if run.get("retries"):
            times = wording.plural(run["retries"], "time")
            notes.append(Note(f"{name} went back to a checkpoint {times}, each time to half the learning rate.", "bad"))
        if overrides.get(method):
            own = ", ".join(sorted(overrides[method]))
            notes.append(Note(f"{name} was trained with settings of its own: {own}."))
    return notes


def _figure(tables: StudyTables, corpus: str, trained: dict[str, pd.DataFrame]) -> Figure:
    styles = method_styles(tables.methods)
    panels = []
    for column, title, scale in [*CURVES, *_scores(trained)]:
        # Losses of different methods have nothing in common: one panel each.
        groups = [{m: h} for m, h in trained.items()] if column == "loss" else [trained]
        for group in groups:
            curves = {m: _thin(h, column) for m, h in group.items() if column in h and h[column].notna().any()}
            if not curves:
                continue
            titled = f"{title}, {wording.title(next(iter(curves)))}" if column == "loss" else title
            ends = ", ".join(
                f"{wording.title(m)} {_plain(c[column].iloc[0])} to {_plain(c[column].iloc[-1])}"
                for m, c in curves.items()
            )
            panels.append(
                panel(
                    f"training-{corpus}-{column}-{'-'.join(curves)}",
                    f"{titled} over updates: {ends}.",
                    lambda axes, curves=curves, column=column, titled=titled, scale=scale: _draw(
                        axes, curves, column, titled, scale, styles
                    ),
                    (WIDTH, 2.7),
                )
            )
    return Figure(
        name=f"{corpus}-pretraining",
        panels=tuple(panels),
        caption="Pretraining over updates. Spread: standard deviation of normalised features; 0 is collapse. RankMe: "
        "number of directions that the features really use. kNN and linear probe: balanced accuracy on training "
        "patients, never on validation or test.",
        look="spread and rank that rise and stay, while the loss falls and levels off.",
        bad="spread near 0 or a rank of 1 to 2 (collapse), a loss that jumps (learning rate too high) or is still "
        "falling fast at the end (too few updates).",
        sources=tuple(_name(corpus, method) for method in trained),
    )


def _scores(trained: dict[str, pd.DataFrame]) -> list[tuple[str, str, str]]:
    """One panel per label and kind of classifier."""
    columns = sorted({column for history in trained.values() for column in history if column.startswith(tuple(SCORES))})
    titles = []
    for column in columns:
        [kind] = [start for start in SCORES if column.startswith(start)]
        titles.append((column, f"{SCORES[kind]}, {wording.title(column.removeprefix(kind))}", "linear"))
    return titles


def _thin(history: pd.DataFrame, column: str) -> pd.DataFrame:
    rows = history[["step", column]].dropna()
    return rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), POINTS)).astype(int))]


def _plain(value: float) -> str:
    return f"{value:.3g}"


def _draw(axes, curves: dict[str, pd.DataFrame], column: str, title: str, scale: str, styles: dict) -> None:
    for method, curve in curves.items():
        axes.plot(curve.step, curve[column], color=styles[method].colour, label=wording.title(method), lw=1.6)
    axes.set_yscale(scale)
    if column in ("embedding_std", "learning_rate"):
        axes.set_ylim(bottom=0)
    axes.set_xlabel("updates")
    axes.set_title(title)
    if len(curves) > 1:
        axes.legend(loc="best")


def _runs(tables: StudyTables, corpus: str, trained: dict[str, pd.DataFrame]) -> Table:
    rows = []
    for method, history in trained.items():
        wait = _mean(history, "wait_share")
        slow = "" if wording.missing(wait) or wait < WAIT_LIMIT else " (waits for data)"
        rows.append(
            (
                wording.title(method),
                wording.count(history.step.max()),
                wording.count(_mean(history, "images_per_s")),
                wording.percent(wait, 1) + slow,
                _plain(history.loss.dropna().iloc[-1]) if history.loss.notna().any() else wording.NOTHING,
                _last(history, "embedding_std"),
                _last(history, "rankme"),
                _last(history, "lidar"),
                _last(history, "dead_units"),
            )
        )
    return Table(
        title="Runs",
        columns=("Method", *NUMBERS),
        rows=tuple(rows),
        caption=f"Waiting above {wording.percent(WAIT_LIMIT)} means that reading, not computing, sets the pace.",
        sources=tuple(_name(corpus, method) for method in trained),
        numeric=frozenset(NUMBERS),
    )


def _mean(history: pd.DataFrame, column: str) -> float:
    return float(history[column].mean()) if column in history else float("nan")


def _last(history: pd.DataFrame, column: str) -> str:
    values = history[column].dropna() if column in history else []
    return _plain(values.iloc[-1]) if len(values) else wording.NOTHING

"""Searches over settings: ranked on validation, learning-rate range tests, and what an update costs here."""

import json

import numpy as np
import pandas as pd

from scanloom.report import heat_map, range_test, resource_cells, wording
from scanloom.report.figure_style import BLUE, FREE, INK, WIDTH, panel
from scanloom.report.section import Figure, Heading, Note, Section, Statement, Table
from scanloom.report.study_tables import StudyTables
from scanloom.spoken_values import short_names, spoken_value

TITLE = "Studies of settings"
ORDER = 85
LEAD = (
    "Short trainings, compared on validation patients alone: a trial never opens a test image, and nothing here feeds "
    "the verdict. The best of many is partly the luckiest, so its score is too high; take a setting from here and let "
    "the study itself measure it."
)
SHOWN = 20  # settings in the picture of scores; the table has all
CURVES = 6  # settings with a curve
HEAT_SIDE = 8  # values per side of a heat map
PANELS = 6  # settings with a picture of their own
WIDE_RANGE = 20.0  # ends of a logarithmic axis are at least this factor apart
FEW = 4  # numbers that stand side by side instead of on an axis
FINISHED = "finished"


def build(tables: StudyTables) -> Section | None:
    """One part per search, by its kind; None without searches."""
    blocks = []
    for name, search in (tables.config.get("studies") or {}).items():
        blocks.append(Heading(f"{wording.title(name)} ({wording.title(search['kind']).lower()})"))
        if search["kind"] == "resource_check":
            blocks += resource_cells.blocks(tables, name)
        elif search["kind"] == "learning_rate_range":
            blocks += range_test.blocks(tables, name)
        else:
            blocks += _scored(tables, name, search)
    return Section(TITLE, LEAD, tuple(blocks)) if blocks else None


# Searches with scores


def _scored(tables: StudyTables, name: str, search: dict) -> list:
    ranking = tables.frame(f"studies/{name}/ranking.parquet")
    if ranking is None:
        return [Note("This search was not run.")]
    arms, metric = search["probe"]["arms"], tables.main_metric
    listed = _ranking_table(name, ranking, arms, metric)
    done = ranking[ranking.outcome == FINISHED]
    if done.empty:
        text = f"None of {wording.plural(len(ranking), 'setting')} finished, so nothing is ranked."
        return [Statement(text, "The table has the reasons.", "open", "validation only"), listed]
    values = [json.loads(text) for text in done["values"]]
    several = len(values[0]) > 1
    done = done.assign(
        label=[", ".join(map(spoken_value, v.values())) for v in values] if several else done["name"].to_numpy()
    )
    paths = list(values[0])
    blocks = [_best(done, len(ranking), arms[0], metric)]
    tried = [json.loads(text) for text in ranking.sort_values("number")["values"]]
    sides = {path: _in_order([value[path] for value in tried]) for path in paths}
    panels = _score_panels(name, done, values, sides, arms, metric, search["kind"])
    resampled = "patient and pretraining" if len(search["seeds"]) > 1 else "patient"
    blocks.append(
        Figure(
            name=f"study-{name}-scores",
            panels=tuple(panels),
            caption=f"{wording.metric(metric)} on validation, mean over pretrainings, 95 % intervals by {resampled}."
            + (f" A setting is {', '.join(short_names(paths).values())}." if several else ""),
            look="what the good settings have in common, more than which one is first.",
            bad="the best setting at the end of its range (widen the range), or intervals that all overlap (the search "
            "is too short or validation too small to choose).",
            sources=(f"studies/{name}/ranking.parquet",),
        )
    )
    blocks += _training_curves(tables, name, done)
    return [*blocks, listed]


def _best(done: pd.DataFrame, tried: int, arm: str, metric: str) -> Statement:
    """tried: settings, those that did not finish among them."""
    best, tied = done.iloc[0], int(done.tied.sum()) - 1
    score = wording.interval(best[arm], best[f"{arm}_low"], best[f"{arm}_high"])
    others, lost = len(done) - 1, tried - len(done)
    finished = wording.plural(len(done), "setting") + (f" that finished, of {tried}," if lost else "")
    text = f"Best of {finished} on validation: {best['name']}{_collapsed(best)}. "
    text += f"{wording.metric(metric)} {score}, {arm}."
    detail = (
        "No other setting was tried."
        if tried == 1
        else "No other setting finished."
        if not others
        else f"{wording.plural(tied, 'other setting')} of {others} cannot be told apart from it."
        if tied
        else "Every other setting is worse by more than chance explains."
    )
    if not wording.missing(best.final_loss):
        detail += f" Each was pretrained {wording.plural(int(best.trials), 'time')}."
    return Statement(text, detail, "open" if tied or not others else "good", "validation only")


def _collapsed(row: pd.Series) -> str:
    """What is to be said behind the name of a setting whose pretraining collapsed."""
    if wording.missing(row.collapsed) or not row.collapsed:
        return ""
    lost = round(row.collapsed * row.trials)
    return " (collapsed)" if row.trials == 1 else f" (collapsed in {lost} of {int(row.trials)} pretrainings)"


def _score_panels(name: str, done: pd.DataFrame, values: list, sides: dict, arms: list, metric: str, kind: str) -> list:
    """sides: path -> the different values that were tried, in order."""
    panels, paths = [], list(sides)
    names = short_names(paths)
    if len(paths) == 2 and all(1 < len(side) <= HEAT_SIDE for side in sides.values()) and kind == "grid":
        panels += [_heat(name, done, values, paths, names, sides, arm, metric) for arm in arms]
    elif kind != "transformation_scan":
        varied = [path for path in paths if len(sides[path]) > 1][:PANELS]
        panels += [_against(name, done, values, path, names[path], sides[path], arms, metric) for path in varied]
    return [*panels, _dots(name, done, arms, metric, kind)]


def _in_order(values: list) -> list[str]:
    """Different values as text, numbers by size."""
    different = {spoken_value(value): value for value in values}
    numbers = all(_is_number(value) for value in different.values())
    return sorted(different, key=lambda text: different[text]) if numbers else list(different)


def _is_number(value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _heat(name: str, done: pd.DataFrame, values: list, paths, names, sides, arm: str, metric: str):
    rows, columns = sides[paths[0]], sides[paths[1]]
    scores = np.full((len(rows), len(columns)), np.nan)
    for value, score in zip(values, done[arm], strict=True):
        scores[rows.index(spoken_value(value[paths[0]])), columns.index(spoken_value(value[paths[1]]))] = score
    texts = [[wording.number(score) for score in row] for row in scores]
    if not wording.higher_is_better(metric):
        scores = -scores
    title = f"{wording.metric(metric)}, {arm}"
    words = "; ".join(f"{r}, {c}: {texts[i][j]}" for i, r in enumerate(rows) for j, c in enumerate(columns))
    return panel(
        f"study-{name}-heat-{arm}",
        f"{title} by {names[paths[0]]} and {names[paths[1]]}: {words}.",
        lambda axes: heat_map.draw(axes, scores, texts, rows, columns, title, (names[paths[0]], names[paths[1]])),
        (WIDTH, 1.4 + 0.4 * len(rows)),
    )


def _against(name: str, done: pd.DataFrame, values: list, path: str, short: str, side: list, arms, metric: str):
    """Scores over one setting: numbers on an axis, anything else side by side."""
    raw = [value[path] for value in values]
    numbers = all(_is_number(value) for value in raw) and len(side) > FEW
    places = np.array(raw, float) if numbers else np.array([side.index(spoken_value(v)) for v in raw], float)
    title = f"{wording.metric(metric)} over {short.replace('_', ' ')}"

    def draw(axes) -> None:
        for arm, colour in zip(arms, (BLUE, *FREE), strict=False):
            axes.scatter(places, done[arm], color=colour, s=22, alpha=0.75, label=arm, linewidths=0)
        if numbers and places.min() > 0 and places.max() / places.min() >= WIDE_RANGE:
            axes.set_xscale("log")
        if not numbers:
            axes.set_xticks(range(len(side)), side, rotation=20 if len(side) > 3 else 0)
            axes.set_xlim(-0.5, len(side) - 0.5)
        axes.set_xlabel(short)
        axes.set_title(title)
        if len(arms) > 1:
            axes.legend(loc="best")

    best = spoken_value(raw[0])
    words = f"{title}: {len(done)} settings; the best has {best}."
    return panel(f"study-{name}-{path.replace('.', '-')}", words, draw, (WIDTH, 2.5))


def _dots(name: str, done: pd.DataFrame, arms: list, metric: str, kind: str):
    """Scores with intervals, the best on top; a scan of transformations in its own order, its base as a line."""
    scan = kind == "transformation_scan"
    shown = done.head(SHOWN)
    if scan:  # the base stands for what the candidates are measured by
        shown = pd.concat([shown, done.iloc[SHOWN:].query("number == 1")]).sort_values("number")
    title = f"{wording.metric(metric)}, {'in order' if scan else 'best first'}"
    if len(shown) < len(done):
        title += f", the best {SHOWN} of {len(done)}" + (" and the base" if len(shown) > SHOWN else "")

    def draw(axes) -> None:
        for shift, (arm, colour) in enumerate(zip(arms, (BLUE, *FREE), strict=False)):
            places = np.arange(len(shown)) + 0.22 * shift
            axes.hlines(places, shown[f"{arm}_low"], shown[f"{arm}_high"], color=colour, lw=2, alpha=0.5)
            axes.plot(shown[arm], places, "o", color=colour, label=arm)
            if scan and shown.number.iloc[0] == 1:
                axes.axvline(shown[arm].iloc[0], color=colour, lw=0.9, ls=":")
        axes.set_yticks(range(len(shown)), [wording.cut(text, 40) for text in shown.label], fontsize=8)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0, labelcolor=INK)
        axes.grid(True, axis="x")
        axes.grid(False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.set_title(title)
        if len(arms) > 1:
            axes.legend(loc="best")

    words = "; ".join(f"{row['name']} {wording.number(row[arms[0]])}" for _, row in shown.iterrows())
    return panel(f"study-{name}-dots", f"{title}: {words}.", draw, (WIDTH, 1.1 + 0.24 * len(shown)))


def _training_curves(tables: StudyTables, name: str, done: pd.DataFrame) -> list[Figure]:
    curves = tables.frame(f"studies/{name}/curves.parquet")
    shown = done.head(CURVES)
    curves = None if curves is None else curves[curves.number.isin(shown.number) & curves.loss.notna()]
    if curves is None or curves.empty:
        return []
    first = curves.sort_values(["number", "seed"]).groupby("number").seed.transform("first")
    curves = curves[curves.seed == first]
    panels = [_curve_panel(name, curves, shown, "loss", "Loss")]
    if curves.groupby("step").learning_rate.nunique().max() > 1:
        panels.append(_curve_panel(name, curves, shown, "learning_rate", "Learning rate"))
    return [
        Figure(
            name=f"study-{name}-curves",
            panels=tuple(panels),
            caption=f"Pretraining of the {wording.plural(len(shown), 'best setting')}, first pretraining of each.",
            look="losses that are still falling at the end: with more updates the order may change.",
            bad="losses of different methods, views or loss weights compared by height: their scales differ.",
            sources=(f"studies/{name}/ranking.parquet",),
        )
    ]


def _curve_panel(name: str, curves: pd.DataFrame, shown: pd.DataFrame, column: str, title: str):
    def draw(axes) -> None:
        for (number, label), colour in zip(shown[["number", "label"]].itertuples(index=False), FREE, strict=False):
            curve = curves[curves.number == number]
            axes.plot(curve.step, curve[column], color=colour, lw=1.5, label=wording.cut(label, 34))
        axes.set_xlabel("updates")
        axes.set_title(title)
        axes.legend(loc="best", fontsize=8)

    ends = {row.number: curves[curves.number == row.number][column] for row in shown.itertuples()}
    words = "; ".join(
        f"{row['name']} {ends[row.number].iloc[0]:.3g} to {ends[row.number].iloc[-1]:.3g}"
        for _, row in shown.iterrows()
        if len(ends[row.number])
    )
    return panel(f"study-{name}-curve-{column}", f"{title} over updates: {words}.", draw, (WIDTH, 2.7))


def _ranking_table(name: str, ranking: pd.DataFrame, arms: list, metric: str) -> Table:
    rows = []
    for _, row in ranking.iterrows():
        finished = row.outcome == FINISHED
        scores = [wording.interval(row[a], row[f"{a}_low"], row[f"{a}_high"]) if finished else "" for a in arms]
        behind = (
            "" if not finished or row["rank"] == 1 else wording.interval(row.behind, row.behind_low, row.behind_high)
        )
        rows.append(
            (
                wording.count(row["rank"]) if finished else wording.NOTHING,
                row["name"] + _collapsed(row) if finished else f"{row['name']} ({row.outcome}: {row.reason})",
                *scores,
                behind + (" *" if behind and row.tied else ""),
                wording.NOTHING if wording.missing(row.final_loss) else f"{row.final_loss:.4g}",
                wording.number(row.rankme, 1),
                wording.duration(row.seconds),
            )
        )
    scored = [f"{wording.metric(metric)}, {arm}" for arm in arms]
    return Table(
        title="Ranking on validation",
        columns=("Rank", "Setting", *scored, "Behind the best", "Last loss", "RankMe", "Time"),
        rows=tuple(rows),
        caption="With 95 % intervals, each for itself; distances are paired. *: cannot be told apart from the best, "
        "allowing for the number of settings (Hsu's comparison with the best), whatever the interval of its distance. "
        "Test is not used.",
        sources=(f"studies/{name}/ranking.parquet",),
        numeric=frozenset(["Rank", *scored, "Behind the best", "Last loss", "RankMe", "Time"]),
        folded=len(rows) > SHOWN,
    )

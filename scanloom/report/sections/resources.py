"""Run time and memory of every rule, from Snakemake's own measurements."""

import pandas as pd

from scanloom.report import wording
from scanloom.report.figure_style import BLUE, INK, WIDTH, label_bar, panel
from scanloom.report.section import Figure, KeyNumber, KeyNumbers, Note, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Time and memory"
ORDER = 90
LEAD = "Measured by Snakemake while the jobs ran. Steps that were not run again keep their last measurement."


def build(tables: StudyTables) -> Section:
    """Time per rule as bars, then one row per rule."""
    jobs = tables.benchmarks()
    if jobs.empty:
        return Section(TITLE, LEAD, (Note("No benchmark files were given: run through Snakemake to have them."),))
    rules = jobs.groupby("rule").agg(
        jobs=("s", "size"),
        total_s=("s", "sum"),
        longest_s=("s", "max"),
        memory=("max_rss", "max"),
        cpu=("cpu_time", "sum"),
    )
    rules = rules.sort_values("total_s", ascending=False)
    words = ", ".join(f"{rule} {wording.duration(seconds)}" for rule, seconds in rules.total_s.items())
    bars = panel(
        "resources-time",
        f"Total run time per rule: {words}.",
        lambda axes: _draw(axes, rules),
        (WIDTH, 1 + 0.27 * len(rules)),
    )
    numbers = KeyNumbers(
        (
            KeyNumber("jobs", wording.count(len(jobs))),
            KeyNumber(
                "sum of run times", wording.duration(jobs.s.sum()), "less by the clock when jobs run side by side"
            ),
            KeyNumber("largest memory of a job", wording.megabytes(jobs.max_rss.max()), f"in {rules.memory.idxmax()}")
            if jobs.max_rss.notna().any()
            else KeyNumber("largest memory of a job", wording.NOTHING, "not measured"),
        )
    )
    figure = Figure(
        name="run_times",
        panels=(bars,),
        caption="Run time per rule, summed over its jobs. From logs/benchmarks, one file per job.",
        look="what to give more cores first.",
        bad="a rule before training that takes longer than training.",
        sources=(),
    )
    return Section(TITLE, LEAD, (numbers, figure, _table(rules)))


def _draw(axes, rules: pd.DataFrame) -> None:
    places = range(len(rules))
    axes.barh(places, rules.total_s, color=BLUE, alpha=0.85, height=0.62)
    for place, seconds in enumerate(rules.total_s):
        label_bar(axes, seconds, place, wording.duration(seconds))
    axes.set_yticks(places, [rule.replace("_", " ") for rule in rules.index])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.set_ylim(len(rules) - 0.4, -0.6)
    axes.set_xlim(0, 1.22 * max(rules.total_s.max(), 1e-9))
    axes.set_xticks([])
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_title("Run time per rule")


def _table(rules: pd.DataFrame) -> Table:
    return Table(
        title="Rules",
        columns=("Rule", "Jobs", "Total time", "Longest job", "CPU time", "Largest memory"),
        rows=tuple(
            (
                rule,
                wording.count(row.jobs),
                wording.duration(row.total_s),
                wording.duration(row.longest_s),
                wording.duration(row.cpu),
                wording.megabytes(row.memory),
            )
            for rule, row in rules.iterrows()
        ),
        caption="Memory is the resident set of a job and its children. Jobs shorter than a second may have none.",
        sources=(),
        numeric=frozenset(["Jobs", "Total time", "Longest job", "CPU time", "Largest memory"]),
    )

"""The main job: from an installed environment to results/report.html, and the same command once more.

Snakemake runs in a fresh copy of the checkout, so the built-in data set is made, too. Memory is the largest max_rss of
the jobs' benchmark files, the figure that Snakemake samples for each job; the second run must find nothing to do.
It needs an otherwise quiet machine and about ten minutes.
"""

from pathlib import Path

import pandas as pd
from _checkout import copy_of_checkout, planned_jobs, snakemake
from _measure import limited, run

GOAL_MINUTES, GOAL_GB, GOAL_AGAIN_S = 12.0, 3.0, 15.0


def rows(folder: Path, cores: int = 2, configfile: Path | None = None) -> list[dict]:
    """The table; configfile: another study than config.yaml."""
    copy = copy_of_checkout(folder / "checkout")
    arguments = ["--cores", str(cores)]
    if configfile:
        (copy / "study.yaml").write_text(Path(configfile).read_text())
        arguments += ["--configfile", "study.yaml"]
    seconds, output = snakemake(copy, *arguments, "--", "results/report.html")
    again_s, again = snakemake(copy, *arguments, "--", "results/report.html")
    jobs = pd.concat([pd.read_csv(file, sep="\t") for file in (copy / "logs" / "benchmarks").rglob("*.tsv")])
    memory_mb = pd.to_numeric(jobs["max_rss"], errors="coerce").max()
    report_mb = (copy / "results" / "report.html").stat().st_size / 1e6
    return [
        limited(f"all {planned_jobs(output)} jobs, {cores} cores", "minutes", [seconds / 60], GOAL_MINUTES),
        limited("largest job's memory", "GB", [memory_mb / 1000], GOAL_GB),
        limited("second run", "s", [again_s], GOAL_AGAIN_S),
        limited("second run", "jobs", [float(planned_jobs(again))], 0),
        limited("size of the report", "MB", [report_mb], 10),
    ]


if __name__ == "__main__":
    run(
        __file__,
        __doc__,
        rows,
        {
            "cores": {"type": int, "default": 2, "help": "cores for Snakemake (default 2)"},
            "configfile": {"type": Path, "metavar": "FILE", "help": "another study than config.yaml"},
        },
    )

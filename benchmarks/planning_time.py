"""Seconds to plan a study of about 600 jobs, and whether a large catalogue changes anything.

The study has two tasks, three methods and more fractions and chunks than anyone needs. It is planned (`snakemake -n`,
the whole command from start to end) in a copy of the checkout: where nothing was made yet, and where the catalogue and
everything made with it lie there with 100 and with 1,000,000 series. The last two must have the same number of jobs,
because the graph depends on the configuration alone. Their times are compared without a goal: they differ by noise.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from _checkout import copy_of_checkout, planned_jobs, snakemake
from _measure import compared, limited, run

GOAL_S = 10.0
SERIES = (100, 1_000_000)


def rows(folder: Path, chunks: int = 200, fractions: int = 22, series=SERIES, rounds: int = 2) -> list[dict]:
    """The table; chunks and fractions of the study, sizes of the small and the large catalogue."""
    copies = {name: copy_of_checkout(folder / name) for name in ("nothing", "small", "large")}
    for copy in copies.values():
        write_study(copy, chunks, fractions)
    write_catalogue(copies["small"], series[0], chunks)
    write_catalogue(copies["large"], series[1], chunks)
    seconds, jobs = {name: [] for name in copies}, {}
    for _ in range(rounds):
        for name, copy in copies.items():
            took, output = snakemake(
                copy, "--dry-run", "--quiet", "rules", "--configfile", "study.yaml", "--cores", "2"
            )
            seconds[name].append(took)
            jobs[name] = planned_jobs(output)
    if jobs["small"] != jobs["large"]:
        raise ValueError(f"{jobs['small']} jobs with {series[0]} series, {jobs['large']} with {series[1]}")
    return [
        limited(f"planning {jobs['nothing']} jobs", "s", seconds["nothing"], GOAL_S),
        limited(f"planning {jobs['large']} jobs, {series[1]:,} series in the catalogue", "s", seconds["large"], GOAL_S),
        compared(f"{series[1]:,} series (ours) and {series[0]:,} (peer)", "s", seconds["large"], seconds["small"]),
        limited("difference in jobs between the two catalogues", "jobs", [float(jobs["large"] - jobs["small"])], 0),
    ]


def write_study(copy: Path, chunks: int, fractions: int) -> None:
    """study.yaml: the shipped study, enlarged."""
    study = yaml.safe_load((copy / "config.yaml").read_text())
    study["chunks"] = chunks
    study["fractions"] = [round(float(f), 6) for f in np.linspace(1 / fractions, 1, fractions)]
    task = next(iter(study["tasks"].values()))
    study["tasks"] = {"bleed": task, "level": {**task, "label": "level"}}
    (copy / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))


def write_catalogue(copy: Path, series: int, chunks: int) -> None:
    """A catalogue of so many series, and all else that the first two rules make, in place."""
    rng = np.random.default_rng(0)
    names = np.char.mod("%016x", np.arange(series))
    table = pd.DataFrame(
        {
            "series_id": names,
            "patient_id": names[rng.integers(0, series, series)],
            "verdict": "used",
            "n_images": rng.integers(1, 400, series),
            "slice_thickness_mm": rng.choice([0.6, 1.0, 2.5, 5.0], series),
            "rescale_slope": 1.0,
            "rescale_intercept": -1024.0,
            "chunk": rng.integers(0, chunks, series),
        }
    )
    for folder in ("results/phantom", "private/phantom/chunks"):
        (copy / folder).mkdir(parents=True)
    for name in ("root", "download"):
        (copy / "private/phantom" / f"{name}.json").write_text(json.dumps({"root": "data/phantom"}))
    table.to_parquet(copy / "results/phantom/catalogue.parquet", index=False)
    for name in ("files", "series", "labels"):
        table[["series_id"]].to_parquet(copy / "private/phantom" / f"{name}.parquet", index=False)
    for chunk, part in table[["series_id"]].groupby(table["chunk"]):
        part.to_parquet(copy / "private/phantom/chunks" / f"{chunk:03d}.parquet", index=False)
    for chunk in set(range(chunks)) - set(table["chunk"]):
        table.iloc[:0][["series_id"]].to_parquet(copy / f"private/phantom/chunks/{chunk:03d}.parquet", index=False)
    (copy / "results/phantom/books.json").write_text(json.dumps({"found": series, "used": series, "excluded": 0}))
    (copy / "results/phantom/catalogue.parquet.origin.json").write_text("{}")


if __name__ == "__main__":
    run(__file__, __doc__, rows)

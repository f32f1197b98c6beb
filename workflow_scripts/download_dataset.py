"""Get one dataset's images here, or find them where they are; write where they are and how many."""

import dataclasses
import json
from pathlib import Path

from scanloom import plugins
from scanloom.files.layout import layout_problem
from scanloom.sources._progress import shown
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    source = plugins.load("sources", params.source["name"])
    settings = plugins.settings("sources", params.source["name"], params.source["settings"])
    with shown(source.PROGRESS_UNIT) as progress:
        report = source.fetch(settings, Path(params.folder), seed=params.seed, progress=progress)
    problem = layout_problem(report.root, params.layout, params.how_to_get)
    if problem:
        raise FileNotFoundError(problem)
    fetched = {key: str(value) if key == "root" else value for key, value in dataclasses.asdict(report).items()}
    # The root stands alone so that steps which only need to know where the images are do not rerun on every count.
    Path(snakemake.output.root).write_text(json.dumps({"root": str(report.root)}) + "\n")
    Path(snakemake.output.manifest).write_text(json.dumps(fetched, indent=1) + "\n")
    print(f"{report.files} files, {report.bytes / 1e6:.0f} MB ({report.fetched} fetched, {report.reused} reused)")
    if report.withdrawn:
        print(f"{report.withdrawn} files of an earlier fetch are no longer at the source: set aside in withdrawn/")

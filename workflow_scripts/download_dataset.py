"""Get one dataset's images here, or find them where they are; write where they are and how many."""

import dataclasses
import json
from pathlib import Path

from scanloom import plugins
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    name, settings = snakemake.params.source["name"], snakemake.params.source["settings"]
    source = plugins.load("sources", name)
    report = source.fetch(
        plugins.settings("sources", name, settings), Path(snakemake.params.folder), seed=snakemake.params.seed
    )
    fetched = {key: str(value) if key == "root" else value for key, value in dataclasses.asdict(report).items()}
    # The root stands alone so that steps which only need to know where the images are do not rerun on every count.
    Path(snakemake.output.root).write_text(json.dumps({"root": str(report.root)}) + "\n")
    Path(snakemake.output.manifest).write_text(json.dumps(fetched, indent=1) + "\n")
    print(f"{report.files} files, {report.bytes / 1e6:.0f} MB ({report.fetched} fetched, {report.reused} reused)")

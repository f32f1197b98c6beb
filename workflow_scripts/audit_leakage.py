"""Images that stand twice in the study, exactly or nearly, within and across splits and datasets."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from scanloom.copies.fingerprints import read_fingerprints
from scanloom.copies.leakage import audit, example_images, examples, summary
from scanloom.provenance import stamp
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    given, params = snakemake.input, snakemake.params
    table, coefficients = read_fingerprints(given.fingerprints)
    roots = {Path(path).parent.name: Path(json.loads(Path(path).read_text())["root"]) for path in given.roots}
    rows = {
        name: pd.concat([pd.read_parquet(path) for path in given.chunks if Path(path).parents[1].name == name])
        for name in roots
    }
    pairs = audit(table, coefficients, rows, roots, params.roles, params.rank, snakemake.threads)
    pairs.to_parquet(snakemake.output.leakage, index=False)
    shown = examples(pairs, params.examples)
    indexes = {Path(path).parents[1].name: path for path in given.indexes}
    with open(snakemake.output.examples, "wb") as file:
        np.savez(file, **example_images(shown, indexes), compared=len(table), no_content=(~table.has_content).sum())
    print(f"{len(table)} images of {', '.join(roots)}: {len(pairs)} pairs of copies")
    print(summary(pairs).to_string(index=False))
    stamp(snakemake.output.origin, snakemake.rule, {"roles": params.roles}, given.fingerprints, params.code)

"""One chunk's images as one TFRecord shard per split, with a manifest of counts and checksums."""

from pathlib import Path

import pandas as pd

from scanloom.images.chunk_images import read_parts
from scanloom.shards.shard_writer import write_chunk
from scanloom.splitting.splits import SPLITS
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    manifest = write_chunk(
        read_parts(*snakemake.input.preprocessed),
        pd.read_parquet(snakemake.input.images),
        snakemake.params.labels,
        snakemake.wildcards.dataset,
        int(snakemake.wildcards.chunk),
        {split: Path(snakemake.output[split]) for split in SPLITS},
        Path(snakemake.output.manifest),
        snakemake.params.compression,
    )
    print({split: manifest["splits"][split]["records"] for split in SPLITS})

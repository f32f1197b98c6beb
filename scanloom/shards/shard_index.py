"""The index of a dataset's shards: what trainings depend on instead of hundreds of files.

Snakemake's planning time grows with jobs times input files; with one index per dataset it grows with the jobs alone.
The index holds the SHA-256 of every manifest, and the manifests those of the shards, so it changes exactly when a shard
does; `records.open_shards` checks the shards against their manifests again when it reads them.
"""

import json
from pathlib import Path

from scanloom.atomic_files import write_text
from scanloom.run_store import sha256_of
from scanloom.shards.records import BadShard, open_shards, read_manifest


def write_index(manifest_paths, path: Path) -> dict:
    """Check all shards of a dataset and write their index beside them. Raises what `open_shards` raises."""
    path = Path(path)
    shards = open_shards(manifest_paths)
    manifests = sorted(map(Path, manifest_paths))
    if any(manifest.parent != path.parent for manifest in manifests):
        raise BadShard(f"{path}: the index must lie in the folder of its manifests")
    dataset = {read_manifest(manifest)["dataset"] for manifest in manifests}
    index = {
        "dataset": dataset.pop(),
        "records": len(shards),
        "manifests": {manifest.name: sha256_of(manifest) for manifest in manifests},
    }
    write_text(path, json.dumps(index, indent=1) + "\n")
    return index


def manifests_of(*indexes) -> list[Path]:
    """Manifests of the datasets, in order. Raises BadShard where one changed since the index was written."""
    found = []
    for path in map(Path, indexes):
        for name, said in json.loads(path.read_text())["manifests"].items():
            manifest = path.parent / name
            if not manifest.is_file() or sha256_of(manifest) != said:
                raise BadShard(f"{manifest} is missing or not what {path} says: delete {path} and run again")
            found.append(manifest)
    return found

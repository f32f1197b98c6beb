"""Everything that can be wrong with shards, found and named: not only the first thing, as readers do."""

from pathlib import Path

import numpy as np

from scanloom.shards import tfrecord_wire as wire
from scanloom.shards.records import FEATURES, BadShard, checked_bytes, open_shards, read_manifest, unpacked
from scanloom.shards.shard_index import manifests_of
from scanloom.splitting.splits import PatientInTwoSplits

KINDS = {wire.BYTES: "bytes", wire.FLOAT: "float32", wire.INT64: "int64"}
MOST = 5  # damaged records named per file


def folder_problems(manifests: list[Path]) -> list[str]:
    """One sentence per problem of the shards of these manifests, alone and together; empty: all is as it was written.

    Of every shard: size, SHA-256, number of records, every record's checksum, features with type and length, images.
    Of all: no item twice, no patient in two splits, the index (if there is one) describes these manifests.
    """
    found = []
    for path in manifests:
        try:
            manifest = read_manifest(path)
        except BadShard as error:
            found.append(str(error))
            continue
        for split, said in manifest["splits"].items():
            found += shard_problems(path, manifest, split, said)
    index = manifests[0].parent / "index.json" if manifests else None
    try:
        if index is not None and index.exists():
            listed = manifests_of(index)
            found += [f"{path} is not listed in {index}" for path in manifests if path not in listed]
        if manifests and not found:
            open_shards(manifests)
    except (BadShard, PatientInTwoSplits) as error:
        found.append(str(error))
    return found


def shard_problems(path: Path, manifest: dict, split: str, said: dict) -> list[str]:
    """Problems of one shard of a manifest."""
    file = path.parent / said["file"]
    try:
        checked_bytes(file, said, manifest["compression"])
    except BadShard as error:
        # The damaged records say more than the file's size or hash, where they can be found.
        damaged = record_problems(file) if file.is_file() and manifest["compression"] == "none" else []
        return damaged or [str(error)]
    found = record_problems(file)
    try:
        shards = open_shards([path], [split]) if said["records"] else ()
    except BadShard as error:
        return [*found, str(error)]
    if len(shards) != said["records"]:
        found.append(f"{file} holds {len(shards)} records, its manifest says {said['records']}")
    return found + (schema_problems(file, manifest) if said["records"] else [])


def record_problems(file: Path) -> list[str]:
    """Records of a TFRecord file (gzip or not) that do not match their checksums, or where it is cut off."""
    found = []
    try:
        data = file_bytes(file)
        for number, (start, length) in enumerate(zip(*wire.index_records(data, str(file)), strict=True)):
            if not wire.is_whole(data, start, length):
                found.append(f"{file}: record {number} is damaged")
    except wire.DamagedRecord as error:
        found.append(str(error))
    return found if len(found) <= MOST else [*found[:MOST], f"{file}: {len(found) - MOST} more records are damaged"]


def schema_problems(file: Path, manifest: dict) -> list[str]:
    """Features of a shard's records that are not those of the manifest."""
    data = file_bytes(file)
    expected = {name: (part["type"], part["values"]) for name, part in manifest["features"].items()}
    found = {}
    for number, (start, length) in enumerate(zip(*wire.index_records(data, str(file)), strict=True)):
        record = bytes(data[start : start + length])
        features = wire.locate(record)
        seen = {name: (KINDS[value.kind], len(wire.values_of(record, value))) for name, value in features.items()}
        if seen != expected:
            odd = sorted(name for name in {*seen, *expected} if seen.get(name) != expected.get(name))
            found.setdefault(tuple(odd), number)
    known = ", ".join(FEATURES)
    return [
        f"{file}: record {number}: {', '.join(names)} not as in its manifest (features: {known})"
        for names, number in found.items()
    ]


def file_bytes(file: Path) -> np.ndarray:
    """The records of a file, uint8 [n]; unpacked where it is compressed."""
    with open(file, "rb") as start:
        packed = start.read(2) == b"\x1f\x8b"
    if packed:
        return unpacked(file)
    return np.asarray(np.memmap(file, np.uint8, "r")) if file.stat().st_size else np.zeros(0, np.uint8)

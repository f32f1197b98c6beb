"""Images that occur twice in a study, within and across splits and datasets, and into which task they leak.

Found are: equal files (kind `bytes`); equal pixels after preprocessing (`pixels`); the same picture mirrored, cropped,
re-windowed, compressed or noisy (`near`, see near_copies.py); one DICOM instance in two series (`image id`); one raw
patient id in two datasets, or in two splits where the unit of splits is not the patient (`patient id`: of short ids it
may be chance). Not reported: images without content, such as a slice of air, which are equal without being copies, and
near pairs of one patient, since neighbouring slices look alike.

A pair leaks into a task if one of the two is learnt from, in pretraining or after it, and the other one is measured.
"""

import hashlib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from scanloom.copies.near_copies import near_pairs
from scanloom.identity import item_ids
from scanloom.shards.records import open_shards
from scanloom.shards.shard_index import manifests_of
from scanloom.splitting.splits import SPLITS

KINDS = ("bytes", "pixels", "image id", "near", "patient id")  # the first that holds is said
COLUMNS = {
    "kind": "str",
    "dataset_a": "str",
    "item_a": "str",
    "patient_a": "str",
    "split_a": "str",
    "dataset_b": "str",
    "item_b": "str",
    "patient_b": "str",
    "split_b": "str",
    "same_patient": "bool",
    "likeness": "float64",
    "leaks_into": "str",
}
LISTED = 5  # leaking pairs that the refusal of a strict study names
EXAMPLE_PX = 96


class LeakFound(ValueError):
    """Copies of what is measured are among what is learnt from, in a study that forbids it."""


def audit(
    table: pd.DataFrame,
    coefficients: np.ndarray,
    rows: Mapping[str, pd.DataFrame],
    roots: Mapping[str, Path],
    roles: Mapping[str, Mapping[str, Mapping[str, str]]],
    rank: int,
    workers: int = 1,
) -> pd.DataFrame:
    """One row per pair (COLUMNS), leaks first. Item a comes first in the order of splits, datasets and items.

    table, coefficients: of fingerprints.read_fingerprints. rows: per dataset the private image rows (series_id, path,
    slice_index, frame, sop_uid, patient_id, raw_patient). roots: per dataset the folder that paths are relative to;
    files that are not there any more are not compared. roles: of planning.leakage_roles. Of a group of equal images
    each surplus one stands once, with an earlier one from which it leaks, if there is any.
    """
    if len(table) != len(coefficients):
        raise ValueError(f"{len(coefficients)} fingerprints for {len(table)} rows of the table")
    order = np.lexsort((table["item_id"], table["dataset"], table["split"].map(SPLITS.index)))
    table, coefficients = table.iloc[order].reset_index(drop=True), coefficients[order]
    rows = pd.concat([part.assign(dataset=name) for name, part in rows.items()], ignore_index=True)
    leak = _Leaks(table, roles)
    equal, near, values = _copies(table, coefficients, leak, workers)
    found = [
        _rows(table, leak, equal, "pixels", np.ones(len(equal))),
        _rows(table, leak, _same_instances(table, rows, rank), "image id", np.nan),
        _rows(table, leak, near, "near", values),
        _same_patients(table, rows, leak),
    ]
    found = pd.concat([part for part in found if len(part)] or found[:1], ignore_index=True)
    found.loc[_same_files(found, rows, roots, rank), "kind"] = "bytes"
    found["_kind"] = found["kind"].map(KINDS.index)
    found = found.sort_values("_kind", kind="stable")
    items = ["item_a", "item_b"]
    found = found[~found.duplicated(items) | (found["kind"] == "patient id")]
    found["_kept"] = found["leaks_into"] == ""
    found = found.sort_values(["_kept", "_kind", "dataset_a", *items, "patient_a"], kind="stable")
    return found[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)


class _Leaks:
    """Which tasks a pair leaks into, by the splits and datasets of the two."""

    def __init__(self, table: pd.DataFrame, roles):
        places = pd.MultiIndex.from_frame(table[["dataset", "split"]])
        self.of, known = pd.factorize(places)  # int [n]: number of each image's dataset and split
        self.tasks = np.full((len(known), len(known)), "", object)
        for i, j in combinations(range(len(known)), 2):
            into = []
            for task, datasets in roles.items():
                a, b = (datasets.get(dataset, {}).get(split) for dataset, split in (known[i], known[j]))
                if a and b and a != b:
                    into.append(task)
            self.tasks[i, j] = self.tasks[j, i] = ", ".join(into)

    def into(self, a, b) -> np.ndarray:
        """Tasks, joined by commas, for image numbers a and b."""
        return self.tasks[self.of[a], self.of[b]]


def _copies(
    table: pd.DataFrame, coefficients: np.ndarray, leak: _Leaks, workers: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of images with equal pixels, int64 [pairs, 2], near pairs, and their likeness."""
    full = np.flatnonzero(table["has_content"])
    _, first, group = np.unique(table["digest"].to_numpy()[full], return_index=True, return_inverse=True)
    members = {full[first[number]]: [] for number in range(len(first))}  # the first of each group -> all, in order
    for place, number in zip(full, group, strict=True):
        members[full[first[number]]].append(place)
    equal = []
    for group_members in members.values():
        for place, copy in enumerate(group_members[1:], start=1):
            before = _one_per_place(group_members[:place], leak)
            equal.append((next((one for one in before if leak.into(one, copy)), group_members[0]), copy))
    distinct = np.sort(full[first])
    patient = pd.factorize(table["dataset"] + " " + table["patient_id"])[0]
    pairs, values = near_pairs(coefficients[distinct], patient[distinct], workers)
    pairs = distinct[pairs]
    for number, (a, b) in enumerate(pairs):
        for one in _one_per_place(members[a], leak):
            for other in _one_per_place(members[b], leak):
                if leak.into(one, other) and not leak.into(*pairs[number]) and patient[one] != patient[other]:
                    pairs[number] = sorted((one, other))
    return np.array(equal, np.int64).reshape(-1, 2), pairs, values


def _one_per_place(members: list[int], leak: _Leaks) -> list[int]:
    """The first of the images in each dataset and split."""
    found = {}
    for member in members:
        found.setdefault(leak.of[member], member)
    return list(found.values())


def _rows(table: pd.DataFrame, leak: _Leaks, pairs: np.ndarray, kind: str, value) -> pd.DataFrame:
    a, b = table.iloc[pairs[:, 0]], table.iloc[pairs[:, 1]]
    columns = {"kind": np.full(len(pairs), kind, object)}
    for side, part in (("a", a), ("b", b)):
        for name, column in (
            ("dataset", "dataset"),
            ("item", "item_id"),
            ("patient", "patient_id"),
            ("split", "split"),
        ):
            columns[f"{name}_{side}"] = part[column].to_numpy(object)
    columns["same_patient"] = (a["dataset"].to_numpy() == b["dataset"].to_numpy()) & (
        a["patient_id"].to_numpy() == b["patient_id"].to_numpy()
    )
    columns["likeness"] = np.broadcast_to(value, len(pairs))
    columns["leaks_into"] = leak.into(pairs[:, 0], pairs[:, 1])
    return pd.DataFrame(columns)


def _pairs_of_one_key(rows: pd.DataFrame) -> np.ndarray:
    """int64 [pairs, 2], smaller first: `place` of all rows with equal `key`, each `owner` standing once per key."""
    rows = rows[rows["key"] != ""].sort_values("place", kind="stable").drop_duplicates(["key", "owner"])
    rows = rows[rows["key"].duplicated(keep=False)][["key", "place"]]
    pairs = rows.merge(rows, on="key", suffixes=("_a", "_b"))[["place_a", "place_b"]].to_numpy(np.int64)
    return np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0)


def _items(rows: pd.DataFrame, rank: int) -> pd.Series:
    """item_id of the image that each raw image went into."""
    return item_ids(rows["series_id"], rows["slice_index"] if rank == 2 else rows["slice_index"] * 0)


def _same_instances(table: pd.DataFrame, rows: pd.DataFrame, rank: int) -> np.ndarray:
    """Pairs of images, int64 [pairs, 2], made from DICOM instances of one UID, of two series."""
    number = pd.Series(table.index, index=table["dataset"] + " " + table["item_id"])
    place = (rows["dataset"] + " " + _items(rows, rank)).map(number)
    # Readers of other formats put names there that are unique within their data set only.
    is_uid = rows["sop_uid"].fillna("").astype("str").str.fullmatch(r"\d+(\.\d+)+")
    known = rows[place.notna() & is_uid].assign(place=place)
    key = known["sop_uid"].astype("str") + (" " + known["frame"].astype("str") if rank == 2 else "")
    return _pairs_of_one_key(known.assign(key=key, owner=known["dataset"] + " " + known["series_id"]))


def _same_patients(table: pd.DataFrame, rows: pd.DataFrame, leak: _Leaks) -> pd.DataFrame:
    """Rows for equal raw patient ids in two datasets, or in two splits of one whose unit is not the patient."""
    first = table.drop_duplicates(["dataset", "patient_id"])
    number = pd.Series(first.index, index=first["dataset"] + " " + first["patient_id"])
    people = rows.drop_duplicates(["dataset", "patient_id", "raw_patient"])
    place = (people["dataset"] + " " + people["patient_id"]).map(number)
    people = people[place.notna()].assign(place=place)
    people = people.assign(
        key=people["raw_patient"].fillna("").astype("str").str.strip(), owner=leak.of[people["place"].astype(int)]
    )
    return _rows(table, leak, _pairs_of_one_key(people), "patient id", np.nan).assign(item_a="", item_b="")


def _same_files(found: pd.DataFrame, rows: pd.DataFrame, roots: Mapping[str, Path], rank: int) -> np.ndarray:
    """bool per row: the two images come from other files with the same bytes."""
    same = np.zeros(len(found), bool)
    images = found["item_a"] != ""
    wanted = {
        side: set(found.loc[images, f"dataset_{side}"] + " " + found.loc[images, f"item_{side}"]) for side in "ab"
    }
    names = rows["dataset"] + " " + _items(rows, rank)
    chosen = names.isin(wanted["a"] | wanted["b"])
    rows, names = rows[chosen], names[chosen]
    files = [str(Path(roots[name]) / path) for name, path in zip(rows["dataset"], rows["path"], strict=True)]
    files = pd.Series(files, rows.index, dtype="str")
    if "place" in rows:  # a member of an archive lies where it was unpacked
        files = rows["place"].where(rows["place"].fillna("") != "", files)
    paths = files.groupby(names).agg(lambda part: sorted(set(part)))
    digest: dict[str, str] = {}

    def content(name: str) -> list[str] | None:
        for file in paths.get(name, []):
            if file not in digest:
                if not Path(file).is_file():
                    return None
                with open(file, "rb") as opened:
                    digest[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        return sorted(digest[file] for file in paths.get(name, [])) or None

    for place in np.flatnonzero(images):
        row = found.iloc[place]
        a, b = f"{row.dataset_a} {row.item_a}", f"{row.dataset_b} {row.item_b}"
        one_file = row.dataset_a == row.dataset_b and list(paths.get(a, [])) == list(paths.get(b, []))
        same[place] = not one_file and content(a) is not None and content(a) == content(b)
    return same


def summary(found: pd.DataFrame) -> pd.DataFrame:
    """Pairs per kind, datasets, splits, same_patient and leaks_into."""
    keys = ["kind", "dataset_a", "split_a", "dataset_b", "split_b", "same_patient", "leaks_into"]
    return found.groupby(keys).size().rename("pairs").reset_index()


def examples(found: pd.DataFrame, number: int) -> pd.DataFrame:
    """Pairs of images worth showing: leaks before others, kinds in turn."""
    images = found[found["item_a"] != ""]
    kept = images["leaks_into"] == ""
    turn = images.groupby([kept, "kind"]).cumcount()
    return (
        images.assign(_kept=kept, _turn=turn).sort_values(["_kept", "_turn"], kind="stable").head(number)[list(COLUMNS)]
    )


def assert_no_leak(found: pd.DataFrame, where: str) -> None:
    """Raise LeakFound if a pair of images leaks into a task; patient ids alone may be chance and are only reported."""
    leaks = found[(found["leaks_into"] != "") & (found["item_a"] != "")]
    if not len(leaks):
        return
    listed = "\n".join(
        f"  {row.kind}: {row.item_a} ({row.dataset_a}, {row.split_a}) and {row.item_b} ({row.dataset_b}, "
        f"{row.split_b}), into {row.leaks_into}"
        for row in leaks.head(LISTED).itertuples()
    )
    one = leaks.iloc[0]
    series = one.item_b.rsplit("-", 1)[0]
    raise LeakFound(
        f"leakage.strict is on, and copies leak from what is learnt to what is measured (pairs: {len(leaks)}):\n"
        f"{listed}\nAll of them are in {where}. Exclude one of each pair in its dataset's file, for example in "
        f"datasets/{one.dataset_b}.yaml\n"
        f"  exclude: [{{where: \"series_id = '{series}'\", reason: copy of another image}}]\n"
        "or give both one patient (`group`), or set leakage: {strict: false} to be told in the report only"
    )


def example_images(shown: pd.DataFrame, indexes: Mapping[str, str]) -> dict[str, np.ndarray]:
    """a, b: uint8 [pairs, EXAMPLE_PX, EXAMPLE_PX], the channels' mean, at rank 3 of the middle slice; item_a, item_b.

    indexes: the shard index of every dataset.
    """
    arrays = {"item_a": shown["item_a"].to_numpy("U"), "item_b": shown["item_b"].to_numpy("U")}
    for side in "ab":
        arrays[side] = np.zeros((len(shown), EXAMPLE_PX, EXAMPLE_PX), np.uint8)
    for dataset in sorted(set(shown["dataset_a"]) | set(shown["dataset_b"])):
        shards = open_shards(manifests_of(indexes[dataset]))
        number = pd.Series(np.arange(len(shards)), index=shards.table["item_id"])
        for side in "ab":
            places = np.flatnonzero(shown[f"dataset_{side}"] == dataset)
            images = shards.images(number[shown[f"item_{side}"].iloc[places]].to_numpy())
            for place, image in zip(places, images, strict=True):
                arrays[side][place] = _as_picture(image)
    return arrays


def _as_picture(image: np.ndarray) -> np.ndarray:
    """A square grey picture of integers [*spatial, channels]."""
    image = image >> 8 if image.dtype == np.uint16 else image
    grey = (image[len(image) // 2] if image.ndim == 4 else image).mean(axis=-1).astype(np.uint8)
    scale = EXAMPLE_PX / max(grey.shape)
    size = tuple(max(1, round(side * scale)) for side in grey.shape[::-1])
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
    square = np.zeros((EXAMPLE_PX, EXAMPLE_PX), np.uint8)
    square[: small.shape[0], : small.shape[1]] = small
    return square

"""Who is in train, validation and test: by patient, from one seed, whatever the order of the files.

A patient is assigned by a hash of the seed and the pseudonym alone (`stable`: who comes or goes moves nobody, and every
stratum has the asked shares in expectation), or by rank within the stratum (`balanced`: shares exact to a patient, for
cohorts so small that chance would leave a split without a class; who comes may move a neighbour). Published splits and
test sites come first. Every table and shard that carries a split is checked with `assert_disjoint` by whoever reads it.
"""

import hashlib

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SPLITS = ("train", "validation", "test")
# In this order a stratum of fewer than three patients fills its splits: nothing is learnt without training patients,
# and a class without test patients cannot be reported.
FIRST_SERVED = ("train", "test", "validation")
OFFICIAL_NAMES = {"train": "train", "training": "train", "validation": "validation", "val": "validation"}
OFFICIAL_NAMES |= {"valid": "validation", "dev": "validation", "test": "test", "testing": "test"}
OFFICIAL_NAMES |= {"train_val": "train", "trainval": "train"}  # validation patients are then drawn from them
NOT_OFFICIAL = {"", "nan", "none", "null", "na", "n/a"}
ASSIGNMENTS = ("stable", "balanced")


class PatientInTwoSplits(ValueError):
    """A patient's images would be learnt from and tested on."""


class EmptyClass(ValueError):
    """A class without patients where some are needed."""


def patient_rank(seed: int, purpose: str, patient_id: pd.Series) -> np.ndarray:
    """uint64 [n]: a number per patient, as if drawn, that depends on seed, purpose and patient alone."""
    prefix = f"{seed}|{purpose}|"
    digests = b"".join(hashlib.sha256((prefix + patient).encode()).digest()[:8] for patient in patient_id)
    return np.frombuffer(digests, "<u8")


def patient_strata(images: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """One row per patient: patient_id and one column per stratum column; a patient takes its images' largest value.

    So a patient with any positive image is positive. A patient without any value stands in a stratum of its own (NaN).
    """
    if "patient_id" not in images or set(columns) - set(images):
        raise ValueError(f"no column {sorted({'patient_id', *columns} - set(images))} among {sorted(images)}")
    patients = images.groupby("patient_id", sort=True)[list(columns)].max() if columns else None
    if patients is None:
        return pd.DataFrame({"patient_id": sorted(images["patient_id"].unique())})
    return patients.reset_index()


def stratum_names(patients: pd.DataFrame) -> pd.Series:
    """`bleed=1, site=A` per row: every column except patient_id; 'all' where there is none."""
    parts = [
        f"{column}=" + patients[column].map(lambda value: f"{value:g}" if isinstance(value, float) else f"{value}")
        for column in patients.columns
        if column != "patient_id"
    ]
    if not parts:
        return pd.Series("all", index=patients.index, dtype="str")
    return parts[0].str.cat(parts[1:], sep=", ") if len(parts) > 1 else parts[0]


def shares(n: int, validation: float, test: float) -> dict[str, int]:
    """How many of n patients each split gets: largest remainder, and from three patients on at least one each."""
    exact = np.array([1 - validation - test, validation, test]) * n
    counts = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - counts), kind="stable")
    counts[order[: n - counts.sum()]] += 1
    if n < len(SPLITS):
        return {split: int(split in FIRST_SERVED[:n]) for split in SPLITS}
    while (counts == 0).any():
        counts[counts.argmax()] -= 1
        counts[np.flatnonzero(counts == 0)[0]] += 1
    return dict(zip(SPLITS, counts.tolist(), strict=True))


def official_splits(images: pd.DataFrame, column: str, where: str) -> pd.Series:
    """str by patient_id: the split that the column of published splits names, "" for patients it says nothing of.

    Raises PatientInTwoSplits where it names two for one patient, ValueError for other words.
    """
    said = images[column].fillna("").astype("str").str.strip().str.lower()
    split = said.map(OFFICIAL_NAMES).where(~said.isin(NOT_OFFICIAL), "")
    if split.isna().any():
        odd = sorted(set(said[split.isna()]))[:5]
        raise ValueError(
            f"{where}: the column of official splits holds {odd}; it holds train, validation or test, or nothing for a "
            "patient whose split is to be drawn"
        )
    named = images[["patient_id"]].assign(split=split.to_numpy())
    assert_disjoint(named[named["split"] != ""], f"{where}, official")
    return named.groupby("patient_id", sort=True)["split"].max().astype("str")


def linked_sites(images: pd.DataFrame) -> pd.Series:
    """str by patient_id: the patient's site; sites that share a patient count as one, named by the first of them."""
    pairs = images[["patient_id", "site"]].astype("str").drop_duplicates()
    patient, patients = pd.factorize(pairs["patient_id"], sort=True)
    site, sites = pd.factorize(pairs["site"], sort=True)
    edges = coo_array((np.ones(len(pairs)), (patient, len(patients) + site)), shape=(len(patients) + len(sites),) * 2)
    _, component = connected_components(edges, directed=False)
    first = pd.Series(sites).groupby(component[len(patients) :]).min()
    named = first.reindex(component[: len(patients)]).to_numpy()
    return pd.Series(named, index=pd.Index(patients, name="patient_id"), dtype="str")


def seen_at(images: pd.DataFrame, site: str, where: str) -> pd.Series:
    """bool by patient_id: has an image from this site. Raises ValueError naming the sites where nobody has one."""
    here = images["site"].astype("str") == site
    if not here.any():
        counts = images.groupby("site")["patient_id"].nunique()
        known = ", ".join(f"'{name}' ({n} patients)" for name, n in counts.items())
        raise ValueError(f"{where}: splits.external_test_site is '{site}', but the sites are {known}")
    seen = here.groupby(images["patient_id"]).any()
    if seen.all():
        raise ValueError(f"{where}: every patient was seen at site '{site}'; nobody is left to train on")
    return seen


def split_images(
    images: pd.DataFrame,
    stratify: list[str],
    seed: int,
    validation: float,
    test: float,
    *,
    assignment: str = "stable",
    by: str = "patient",
    official: str | None = None,
    external_site: str | None = None,
    where: str,
) -> pd.DataFrame:
    """patient_id, split, stratum of an image table (patient_id, site, the `stratify` and `official` columns).

    by: "site" keeps sites whole. external_site: its patients are the test set; a patient seen there and elsewhere tests
    with all images, so that no image of a tested patient is learnt from.
    """
    patients = patient_strata(images, stratify)
    special = {}
    if official:
        patients["official split"] = patients["patient_id"].map(official_splits(images, official, where))
        special["official"] = "official split"
    if external_site is not None:
        patients["external"] = patients["patient_id"].map(seen_at(images, external_site, where))
        special["external"] = "external"
    if by == "site":
        patients["sites"] = patients["patient_id"].map(linked_sites(images))
        special["together"] = "sites"
    return split_patients(patients, seed, validation, test, assignment=assignment, **special)


def split_patients(
    patients: pd.DataFrame,
    seed: int,
    validation: float,
    test: float,
    *,
    assignment: str = "stable",
    official: str | None = None,
    external: str | None = None,
    together: str | None = None,
) -> pd.DataFrame:
    """patient_id, split, stratum, sorted by patient.

    patients: one row per patient; every column that no argument names makes the stratum. assignment: see the module.
    official: column with published splits ("" or missing: drawn); where it names no validation patients, they are drawn
    from its training patients. external: bool column; those patients are the test set, all of it, and validation is
    drawn from the others. together: column whose equal values share a split (sites); the value is hashed in place of
    the patient, and shares count values.
    """
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise ValueError(f"shares validation {validation} and test {test} must be positive and leave some for training")
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"assignment '{assignment}' of patients to splits is unknown; known: {', '.join(ASSIGNMENTS)}")
    if sum(map(bool, (official, external, together))) > 1:
        raise ValueError("official splits, an external test site and splits by site exclude each other; choose one")
    if not len(patients):
        raise ValueError("no patients to split: the catalogue has no used series")
    if patients["patient_id"].duplicated().any():
        raise ValueError(f"patient {patients['patient_id'][patients['patient_id'].duplicated()].iloc[0]} has two rows")
    special = [column for column in (official, external, together) if column]
    table = patients[["patient_id"]].copy()
    table["stratum"] = stratum_names(patients.drop(columns=special))
    table["unit"] = patients[together or "patient_id"].astype("str")
    share = validation / (1 - test)  # of those who do not test
    if official:
        table["split"] = patients[official].fillna("").astype("str")
        _draw(table, table["split"] == "", seed, validation, test, assignment)
        if not (patients[official] == "validation").any():
            _draw(table, patients[official] == "train", seed, share, 0.0, assignment)
        for needed in ("train", "test"):
            if not (table["split"] == needed).any():
                raise ValueError(f"official splits have no {needed} patients; drop official_split to draw splits here")
    elif external:
        table["split"] = "test"
        _draw(table, ~patients[external].astype(bool), seed, share, 0.0, assignment)
    else:
        # A whole site has patients of all strata, so sites are drawn as one.
        drawn = table.assign(stratum="all") if together else table
        _draw(drawn, pd.Series(True, index=table.index), seed, validation, test, assignment)
        table["split"] = drawn["split"]
    return table[["patient_id", "split", "stratum"]].sort_values("patient_id", ignore_index=True).astype("str")


def _draw(table: pd.DataFrame, rows: pd.Series, seed: int, validation: float, test: float, assignment: str) -> None:
    """Fill the column `split` of the chosen rows of `table` (patient_id, unit, stratum); test may be 0."""
    chosen = table[rows]
    units = chosen.drop_duplicates("unit")
    drawn = pd.Series("", index=units["unit"], dtype="object")
    rank = patient_rank(seed, "split", units["unit"])
    if assignment == "stable":
        bounds = [1 - validation - test, 1 - test]
        place = (rank >> np.uint64(11)) * 2.0**-53  # uniform in [0, 1)
        drawn[:] = np.array(SPLITS, object)[np.searchsorted(bounds, place, side="right")]
    else:
        order = units.assign(rank=rank).sort_values(["rank", "unit"])
        for _, members in order.groupby("stratum", sort=True):
            drawn[members["unit"]] = np.repeat(SPLITS, _counts(len(members), validation, test))
    table.loc[chosen.index, "split"] = drawn[chosen["unit"]].to_numpy()


def _counts(n: int, validation: float, test: float) -> list[int]:
    """Members of train, validation and test."""
    if test > 0:
        counts = shares(n, validation, test)
        return [counts[split] for split in SPLITS]
    taken = min(max(1, round(validation * n)), n - 1)
    return [n - taken, taken, 0]


def assert_disjoint(table: pd.DataFrame, where: str) -> None:
    """Raise PatientInTwoSplits if a patient of the table (patient_id, split) is in two splits; `where` names it."""
    odd = set(table["split"].unique()) - set(SPLITS)
    if odd:
        raise ValueError(f"{where}: split {sorted(map(str, odd))}; splits are {', '.join(SPLITS)}")
    pairs = table[["patient_id", "split"]].drop_duplicates()
    double = pairs[pairs["patient_id"].duplicated(keep=False)]
    if len(double):
        patient, count = double["patient_id"].min(), double["patient_id"].nunique()
        splits = sorted(double.loc[double["patient_id"] == patient, "split"], key=SPLITS.index)
        raise PatientInTwoSplits(
            f"{where}: patient {patient} is in {' and '.join(splits)} ({count} such patients). "
            "A patient belongs to one split. Remake the splits; if they are official ones, correct the label table"
        )


def assert_all_classes(images: pd.DataFrame, label: str, classes: list[str], where: str) -> None:
    """Raise EmptyClass unless every class of `label` has a patient in every split of the table."""
    held = images.dropna(subset=label).groupby(["split", label])["patient_id"].nunique()
    for index, name in enumerate(classes):
        for split in SPLITS:
            if held.get((split, float(index)), 0) == 0:
                patients = images.loc[images[label] == index, "patient_id"].nunique()
                raise EmptyClass(
                    f"{where}: class '{name}' of '{label}' has no patient in {split} ({patients} patients in all, "
                    "3 needed). Add patients or merge classes; in a small cohort say splits: {assignment: balanced} "
                    "and stratify by this label, then a class of 3 patients or more is in every split"
                )


def assert_predictions_match(predictions: pd.DataFrame, splits: pd.DataFrame) -> None:
    """Raise ValueError unless every predicted patient is in the split table, in the split the prediction says."""
    pairs = predictions[["patient_id", "split"]].drop_duplicates()
    said = pairs["patient_id"].map(splits.set_index("patient_id")["split"])
    wrong = pairs[said != pairs["split"]]
    if len(wrong):
        patient, split = wrong.iloc[0]
        raise PatientInTwoSplits(
            f"predictions: patient {patient} is predicted in {split}, the split table says "
            f"{said[wrong.index[0]]} ({len(wrong)} such patients). Predictions belong to other splits: make them again"
        )

import numpy as np
import pandas as pd
import pytest

from scanloom import planning
from scanloom.config import study_from
from scanloom.copies import leakage
from scanloom.copies.fingerprints import describe
from scanloom.splitting.splits import SPLITS

# A task on heads, pretrained on heads and on chests, of which nothing is measured.
ROLES = {
    "bleed": {
        "heads": {"train": "learnt", "validation": "validation", "test": "test"},
        "chests": dict.fromkeys(SPLITS, "learnt"),
    }
}


def pictures(n, seed=0):
    """uint8 [n, 24, 24, 1]: smooth random pictures that look nothing like each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((n, 8, 8, 1)).repeat(3, axis=1).repeat(3, axis=2)
    return (20 + 200 * coarse).astype(np.uint8)


def table_of(n, dataset="heads"):
    """One image per series and patient, splits in turn."""
    return pd.DataFrame(
        {
            "item_id": [f"{dataset}{i:03d}-0000" for i in range(n)],
            "series_id": [f"{dataset}{i:03d}" for i in range(n)],
            "patient_id": [f"{dataset}-p{i:03d}" for i in range(n)],
            "split": [SPLITS[i % 3] for i in range(n)],
            "dataset": dataset,
        }
    )


def private_rows(table):
    """The private image rows behind the items; one file each."""
    rows = table[["series_id", "patient_id"]].assign(slice_index=0, frame=0)
    rows["sop_uid"] = [f"1.2.{sum(map(ord, dataset))}.{i}" for i, dataset in enumerate(table["dataset"])]
    rows["raw_patient"] = [f"raw {dataset} {i}" for i, dataset in enumerate(table["dataset"])]
    return rows.assign(path=[f"{dataset}/{i}.dcm" for i, dataset in enumerate(table["dataset"])])


def audit(images, table, rows=None, roots=None, rank=2, workers=1):
    described = describe(lambda numbers: images[numbers], len(images))
    table = table.assign(digest=described["digest"], has_content=described["has_content"])
    names = table["dataset"].unique()
    if rows is None:
        rows = {name: private_rows(table[table["dataset"] == name]) for name in names}
    roots = roots or dict.fromkeys(names, "nowhere")
    return leakage.audit(table, described["coefficients"], rows, roots, ROLES, rank, workers)


def pairs(found, *columns):
    return sorted(map(tuple, found[["kind", "item_a", "item_b", *columns]].to_numpy().tolist()))


def test_a_clean_study_has_an_empty_table_of_the_same_types(tmp_path):
    found = audit(pictures(60), table_of(60))
    assert len(found) == 0
    full = audit(np.concatenate([pictures(59), pictures(59)[:1]]), table_of(60))
    assert found.dtypes.to_dict() == full.dtypes.to_dict()
    found.to_parquet(tmp_path / "empty.parquet")
    assert pd.read_parquet(tmp_path / "empty.parquet").dtypes.to_dict() == found.dtypes.to_dict()


def test_copies_are_rows_and_the_ones_that_leak_come_first():
    images = pictures(60)
    images[9] = images[3]  # both train
    images[7] = images[0]  # train, validation
    images[14] = np.clip(images[2] + np.random.default_rng(0).normal(0, 4, images[2].shape), 0, 255)  # both test
    images[15] = images[5][:, ::-1]  # test, train
    found = audit(images, table_of(60))
    assert pairs(found, "split_a", "split_b", "leaks_into") == [
        ("near", "heads002-0000", "heads014-0000", "test", "test", ""),
        ("near", "heads015-0000", "heads005-0000", "train", "test", "bleed"),
        ("pixels", "heads000-0000", "heads007-0000", "train", "validation", "bleed"),
        ("pixels", "heads003-0000", "heads009-0000", "train", "train", ""),
    ]
    assert (found["leaks_into"] != "").tolist() == [True, True, False, False]
    assert not found["same_patient"].any()
    assert (found.loc[found["kind"] == "pixels", "likeness"] == 1).all()
    assert found["likeness"].between(0.93, 1.0001).all()


def test_equal_images_of_one_patient_are_told_near_ones_are_not():
    """A copy weighs twice in training; neighbouring slices merely look alike."""
    images, table = pictures(60), table_of(60)
    images[3] = images[0]
    images[6] = np.clip(images[1].astype(int) + 2, 0, 255)
    images[6, 0, 0] = 0
    table.loc[[0, 3], "patient_id"] = "one"
    table.loc[[1, 6], ["patient_id", "split"]] = ["two", "train"]
    found = audit(images, table)
    assert pairs(found, "same_patient") == [("pixels", "heads000-0000", "heads003-0000", True)]


def test_images_without_content_are_no_copies():
    images = pictures(40)
    images[[1, 5, 9]] = 0
    assert len(audit(images, table_of(40))) == 0


def test_a_corpus_image_that_equals_another_datasets_test_image_leaks():
    images = np.concatenate([pictures(30), pictures(30, seed=1)])
    images[30 + 3] = images[2]  # chests, train = heads, test
    images[30 + 4] = images[0]  # chests, validation: learnt too = heads, train: learnt
    table = pd.concat([table_of(30), table_of(30, "chests")], ignore_index=True)
    found = audit(images, table)
    assert pairs(found, "leaks_into") == [
        ("pixels", "chests003-0000", "heads002-0000", "bleed"),
        ("pixels", "heads000-0000", "chests004-0000", ""),
    ]


def test_a_leak_hidden_in_a_group_of_copies_is_told():
    """The group's first image lies in a dataset that the task never sees; the pair within heads must not be lost."""
    images = np.concatenate([pictures(30), pictures(30, seed=1)])
    images[2] = images[3] = images[30]
    table = pd.concat([table_of(30), table_of(30, "aside")], ignore_index=True)
    found = audit(images, table)
    assert ("pixels", "heads003-0000", "heads002-0000", "bleed") in pairs(found, "leaks_into")
    assert (found["kind"] == "pixels").sum() == 2, "two surplus copies, one row each"
    images[2] = images[2][:, ::-1]  # now a near copy of both
    found = audit(images, table)
    assert ("near", "heads003-0000", "heads002-0000", "bleed") in pairs(found, "leaks_into")


def test_the_same_file_twice_is_called_so(tmp_path):
    images, table = pictures(30), table_of(30)
    images[4], images[8] = images[0], images[2]
    rows = private_rows(table)
    (tmp_path / "heads").mkdir()
    for i, text in ((0, "a"), (4, "a"), (2, "b"), (8, "c")):
        (tmp_path / rows["path"][i]).write_text(text)
    found = audit(images, table, {"heads": rows}, {"heads": tmp_path})
    assert pairs(found) == [
        ("bytes", "heads000-0000", "heads004-0000"),
        ("pixels", "heads002-0000", "heads008-0000"),
    ]
    rows.loc[4, "path"] = rows.loc[0, "path"]
    found = audit(images, table, {"heads": rows}, {"heads": tmp_path})
    assert "bytes" not in set(found["kind"]), "two frames of one file are not the same file twice"


@pytest.mark.parametrize("rank", [2, 3])
def test_one_instance_in_two_series_and_one_patient_in_two_datasets_are_told(rank):
    table = pd.concat([table_of(30), table_of(30, "chests")], ignore_index=True)
    rows = {name: private_rows(table[table["dataset"] == name]) for name in ("heads", "chests")}
    rows["chests"]["sop_uid"] = rows["chests"]["sop_uid"].where(
        rows["chests"]["path"] != "chests/6.dcm", rows["heads"]["sop_uid"][2]
    )
    rows["chests"]["raw_patient"] = rows["chests"]["raw_patient"].where(
        rows["chests"]["path"] != "chests/1.dcm", " raw heads 5 "
    )
    if rank == 3:
        rows = {
            name: pd.concat([part, part.assign(slice_index=1, sop_uid=part["sop_uid"] + ".9")])
            for name, part in rows.items()
        }
    found = audit(np.concatenate([pictures(30), pictures(30, seed=1)]), table, rows, rank=rank)
    assert pairs(found, "patient_a", "patient_b", "leaks_into") == [
        ("image id", "chests006-0000", "heads002-0000", "chests-p006", "heads-p002", "bleed"),
        ("patient id", "", "", "chests-p001", "heads-p005", "bleed"),
    ]
    assert found["likeness"].isna().all()


def test_ids_in_three_datasets_are_compared_each_with_each():
    """The pair that leaks must not hide behind a third dataset that the task never sees."""
    table = pd.concat([table_of(9, name) for name in ("aside", "chests", "heads")], ignore_index=True)
    rows = {name: private_rows(table[table["dataset"] == name]) for name in ("aside", "chests", "heads")}
    for part in rows.values():
        part.loc[part.index[2], ["sop_uid", "raw_patient"]] = ["1.2.3", "somebody"]
    found = audit(pictures(27), table, rows)
    assert found["kind"].value_counts().to_dict() == {"image id": 3, "patient id": 3}
    assert found[found["leaks_into"] != ""][["kind", "dataset_a", "dataset_b"]].to_numpy().tolist() == [
        ["image id", "chests", "heads"],
        ["patient id", "chests", "heads"],
    ]


def test_a_patient_in_two_splits_where_lesions_are_split_is_told():
    table, rows = table_of(12), private_rows(table_of(12))
    rows.loc[[0, 2, 3], "raw_patient"] = "somebody"  # train, test, train
    found = audit(pictures(12), table, {"heads": rows})
    assert pairs(found, "patient_a", "patient_b", "leaks_into") == [
        ("patient id", "", "", "heads-p000", "heads-p002", "bleed")
    ]


def test_ids_that_are_no_uids_are_not_compared_across_datasets():
    """A reader of arrays names an image by its file and place: `data.npz/train/5` may be in any data set."""
    table = pd.concat([table_of(20), table_of(20, "chests")], ignore_index=True)
    rows = {name: private_rows(table[table["dataset"] == name]) for name in ("heads", "chests")}
    for part in rows.values():
        part["sop_uid"] = [f"data.npz/train/{i}" for i in range(len(part))]
        part["raw_patient"] = ""
    assert len(audit(np.concatenate([pictures(20), pictures(20, seed=1)]), table, rows)) == 0


def test_a_strict_study_is_refused_with_names_and_a_remedy():
    images = pictures(60)
    images[7] = images[0]
    found = audit(images, table_of(60))
    with pytest.raises(leakage.LeakFound) as error:
        leakage.assert_no_leak(found, "results/leakage.parquet")
    for part in ("(pairs: 1)", "heads000-0000", "heads007-0000", "results/leakage.parquet", "series_id = 'heads007'"):
        assert part in str(error.value)
    leakage.assert_no_leak(found.assign(leaks_into=""), "results/leakage.parquet")
    leakage.assert_no_leak(found.assign(item_a="", item_b="", kind="patient id"), "results/leakage.parquet")


def test_examples_take_leaks_first_and_kinds_in_turn():
    rows = [
        ("pixels", ""),
        ("pixels", "bleed"),
        ("pixels", "bleed"),
        ("near", "bleed"),
        ("near", ""),
        ("patient id", ""),
    ]
    found = pd.DataFrame(rows, columns=["kind", "leaks_into"]).reindex(columns=list(leakage.COLUMNS))
    found["item_a"] = [f"i{n}" if kind != "patient id" else "" for n, (kind, _) in enumerate(rows)]
    assert leakage.examples(found, 3)["item_a"].tolist() == ["i1", "i3", "i2"]
    assert len(leakage.examples(found, 40)) == 5


def test_the_summary_counts_pairs():
    images = pictures(9)
    images[[4, 7]] = images[0]
    [row] = leakage.summary(audit(images, table_of(9))).to_dict("records")
    assert (row["kind"], row["split_a"], row["split_b"], row["pairs"]) == ("pixels", "train", "validation", 2)


def test_roles_are_those_of_the_corpora():
    datasets = {name: {"steps": ["resize"]} for name in ("heads", "chests", "feet")}
    study = study_from(
        {
            "name": "s",
            "datasets": {name: {"steps": [{"resize": {"size_px": [8, 8]}}]} for name in datasets},
            "corpora": {"all": {"datasets": ["heads", "chests"]}, "feet_only": {"datasets": ["feet"]}},
            "tasks": {
                "bleed": {"dataset": "heads", "label": "bleed", "corpus": "all"},
                "toe": {"dataset": "feet", "label": "toe", "corpus": "feet_only"},
            },
            "encoder": "resnet",
            "views": ["flip"],
            "pretraining": {"methods": {"from_scratch": {}}},
            "explanation": {"compare": "from_scratch"},
        }
    )
    measured = {"train": "learnt", "validation": "validation", "test": "test"}
    assert planning.leakage_roles(study) == {
        "bleed": {"heads": measured, "chests": dict.fromkeys(SPLITS, "learnt")},
        "toe": {"feet": measured},
    }


def test_published_duplicates_of_pneumoniamnist_are_found(shared_data):
    """27 groups, 29 surplus copies, 8 of them in train and validation: the published audit of MedMNIST's duplicates."""
    with np.load(next((shared_data / "pneumoniamnist28").glob("*.npz"))) as archive:
        arrays = {split: archive[f"{key}_images"] for split, key in zip(SPLITS, ("train", "val", "test"), strict=True)}
    images = np.concatenate(list(arrays.values()))[..., np.newaxis]
    table = table_of(len(images)).assign(split=np.repeat(SPLITS, [len(part) for part in arrays.values()]))
    found = audit(images, table, workers=2)
    exact = found[found["kind"] == "pixels"]
    assert len(exact) == 29
    assert exact["item_a"].nunique() == 27
    crossing = exact[exact["split_a"] != exact["split_b"]]
    assert crossing[["split_a", "split_b"]].value_counts().to_dict() == {("train", "validation"): 8}
    assert len(found) - len(exact) <= 5, "of 17 million pairs of strangers"

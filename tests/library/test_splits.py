import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom import splits
from scanloom.splits import SPLITS, PatientInTwoSplits, split_patients


def cohort(n, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    ids = [f"{number:016x}" for number in rng.permutation(10 * n)[:n]]
    return pd.DataFrame({"patient_id": ids, "bleed": (rng.random(n) < share).astype(float)})


@given(st.integers(1, 200), st.integers(0, 5), st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.randoms())
@settings(max_examples=60, deadline=None)
def test_every_patient_gets_one_split_whatever_the_order(n, seed, validation, test, shuffle):
    patients = cohort(n, seed=n)
    table = split_patients(patients, seed, validation, test)
    assert table["patient_id"].tolist() == sorted(patients["patient_id"])
    splits.assert_disjoint(table, "here")
    order = list(range(n))
    shuffle.shuffle(order)
    pd.testing.assert_frame_equal(table, split_patients(patients.iloc[order], seed, validation, test))
    for _, members in table.groupby("stratum"):
        counts = members["split"].value_counts().reindex(SPLITS, fill_value=0)
        exact = np.array([1 - validation - test, validation, test]) * len(members)
        if len(members) >= 3:
            assert (counts > 0).all()
            assert (np.abs(counts - exact) < 2).all()


def test_shares_are_largest_remainders():
    assert splits.shares(10, 0.15, 0.25) == {"train": 6, "validation": 2, "test": 2}
    assert splits.shares(100, 0.15, 0.25) == {"train": 60, "validation": 15, "test": 25}
    assert splits.shares(3, 0.1, 0.1) == {"train": 1, "validation": 1, "test": 1}
    assert splits.shares(2, 0.1, 0.1) == {"train": 1, "validation": 0, "test": 1}


def test_strata_do_not_influence_each_other():
    patients = cohort(60)
    alone = split_patients(patients[patients["bleed"] == 1], 0, 0.2, 0.2)
    both = split_patients(patients, 0, 0.2, 0.2)
    pd.testing.assert_frame_equal(alone, both[both["stratum"] == "bleed=1"].reset_index(drop=True))


def test_another_seed_gives_other_splits():
    patients = cohort(60)
    assert (split_patients(patients, 0, 0.2, 0.2)["split"] != split_patients(patients, 1, 0.2, 0.2)["split"]).any()


def test_a_patient_is_positive_if_any_image_is():
    images = pd.DataFrame(
        {"patient_id": ["b", "a", "a", "c"], "bleed": [0.0, 0.0, 1.0, np.nan], "site": ["A", "A", "A", "B"]}
    )
    patients = splits.patient_strata(images, ["bleed", "site"])
    assert splits.stratum_names(patients).tolist() == ["bleed=1, site=A", "bleed=0, site=A", "bleed=nan, site=B"]
    assert splits.patient_strata(images, [])["patient_id"].tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"no column \['blood'\]"):
        splits.patient_strata(images, ["blood"])


def test_official_splits_are_kept():
    patients = cohort(9).assign(fold=["training", "val", "TEST"] * 3)
    table = split_patients(patients, 0, 0.2, 0.2, official="fold").set_index("patient_id")["split"]
    assert table[patients["patient_id"]].tolist() == ["train", "validation", "test"] * 3


def test_validation_is_drawn_from_official_training_patients():
    patients = cohort(100).assign(fold=["train"] * 80 + ["test"] * 20)
    table = split_patients(patients, 0, 0.2, 0.2, official="fold").set_index("patient_id")["split"]
    assert (table[patients["patient_id"][80:]] == "test").all()
    assert (table[patients["patient_id"][:80]] == "validation").sum() == pytest.approx(20, abs=1)


@pytest.mark.parametrize(
    ("values", "message"),
    [(["train", "test", "holdout"], "holds \\['holdout'\\]"), (["train", "val", "val"], "no test patients")],
)
def test_bad_official_splits_are_errors(values, message):
    with pytest.raises(ValueError, match=message):
        split_patients(cohort(3).assign(fold=values), 0, 0.2, 0.2, official="fold")


@pytest.mark.parametrize(("validation", "test"), [(0, 0.2), (0.5, 0.5), (0.2, 1.0)])
def test_impossible_shares_are_errors(validation, test):
    with pytest.raises(ValueError, match="must be positive"):
        split_patients(cohort(9), 0, validation, test)


def test_a_patient_in_two_splits_is_named_with_the_place():
    table = pd.DataFrame({"patient_id": ["a", "b", "b"], "split": ["train", "test", "train"]})
    with pytest.raises(PatientInTwoSplits, match=r"^the shards: patient b is in train and test \(1 such patients\)"):
        splits.assert_disjoint(table, "the shards")
    with pytest.raises(ValueError, match="split \\['holdout'\\]"):
        splits.assert_disjoint(table.assign(split="holdout"), "the shards")


def test_a_class_without_patients_in_a_split_is_an_error():
    images = pd.DataFrame(
        {"patient_id": list("abcdef"), "split": [*SPLITS, *SPLITS], "bleed": [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]}
    )
    splits.assert_all_classes(images, "bleed", ["no", "yes"], "here")
    with pytest.raises(splits.EmptyClass, match="class 'yes' of 'bleed' has no patient in test"):
        splits.assert_all_classes(images.iloc[:5], "bleed", ["no", "yes"], "here")

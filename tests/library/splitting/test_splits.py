import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from scanloom.splitting import splits
from scanloom.splitting.splits import SPLITS, PatientInTwoSplits, split_patients


def cohort(n, share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    ids = [f"{number:016x}" for number in rng.permutation(10 * n)[:n]]
    return pd.DataFrame({"patient_id": ids, "bleed": (rng.random(n) < share).astype(float)})


@given(st.integers(1, 200), st.integers(0, 5), st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.randoms())
@settings(max_examples=60, deadline=None)
def test_every_patient_gets_one_split_whatever_the_order(n, seed, validation, test, shuffle):
    patients = cohort(n, seed=n)
    table = split_patients(patients, seed, validation, test, assignment="balanced")
    assert table["patient_id"].tolist() == sorted(patients["patient_id"])
    splits.assert_disjoint(table, "here")
    order = list(range(n))
    shuffle.shuffle(order)
    again = split_patients(patients.iloc[order], seed, validation, test, assignment="balanced")
    pd.testing.assert_frame_equal(table, again)
    for _, members in table.groupby("stratum"):
        counts = members["split"].value_counts().reindex(SPLITS, fill_value=0)
        exact = np.array([1 - validation - test, validation, test]) * len(members)
        if len(members) >= 3:
            assert (counts > 0).all()
            assert (np.abs(counts - exact) < 2).all()


@given(st.sets(st.text("0123456789abcdef", min_size=4, max_size=4), min_size=2, max_size=80), st.data())
@settings(max_examples=60, deadline=None)
def test_patients_who_come_or_go_move_nobody(ids, data):
    """Any two cohorts agree on every patient they share, whatever else is in them and whatever their findings are."""
    ids = sorted(ids)
    some = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
    seed = data.draw(st.integers(0, 9))
    findings = data.draw(st.lists(st.sampled_from([0.0, 1.0, np.nan]), min_size=len(some), max_size=len(some)))
    whole = pd.DataFrame({"patient_id": ids, "bleed": 0.0})
    part = pd.DataFrame({"patient_id": some, "bleed": findings})
    whole, part = (split_patients(p, seed, 0.2, 0.3).set_index("patient_id")["split"] for p in (whole, part))
    pd.testing.assert_series_equal(part, whole[part.index])


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_stable_shares_are_binomial_in_every_stratum(seed):
    """Each split's count lies within five standard deviations of a binomial: 1 in 1.7 million falls outside."""
    table = split_patients(cohort(3000), seed, 0.15, 0.25)
    for _, members in table.groupby("stratum"):
        for split, share in zip(SPLITS, (0.6, 0.15, 0.25), strict=True):
            n = len(members)
            assert abs((members["split"] == split).sum() - share * n) < 5 * np.sqrt(n * share * (1 - share))


def test_stable_places_are_uniform():
    """Kolmogorov-Smirnov test of SciPy against the uniform distribution."""
    place = splits.patient_rank(0, "split", pd.Series([f"{i:016x}" for i in range(20000)])) * 2.0**-64
    assert kstest(place, "uniform").pvalue > 1e-3


def test_a_larger_training_share_takes_from_its_neighbour_only():
    patients = cohort(400)
    before, after = (split_patients(patients, 3, v, 0.25).set_index("patient_id")["split"] for v in (0.15, 0.1))
    moved = before.index[before != after]
    assert set(zip(before[moved], after[moved], strict=True)) == {("validation", "train")}


def test_shares_are_largest_remainders():
    assert splits.shares(10, 0.15, 0.25) == {"train": 6, "validation": 2, "test": 2}
    assert splits.shares(100, 0.15, 0.25) == {"train": 60, "validation": 15, "test": 25}
    assert splits.shares(3, 0.1, 0.1) == {"train": 1, "validation": 1, "test": 1}
    assert splits.shares(2, 0.1, 0.1) == {"train": 1, "validation": 0, "test": 1}


def test_strata_do_not_influence_each_other():
    patients = cohort(60)
    alone = split_patients(patients[patients["bleed"] == 1], 0, 0.2, 0.2, assignment="balanced")
    both = split_patients(patients, 0, 0.2, 0.2, assignment="balanced")
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


def official(values):
    return cohort(len(values)).assign(fold=values)


def test_official_splits_are_kept():
    patients = official(["train", "validation", "test"] * 3)
    table = split_patients(patients, 0, 0.2, 0.2, official="fold").set_index("patient_id")["split"]
    assert table[patients["patient_id"]].tolist() == ["train", "validation", "test"] * 3


def test_patients_without_an_official_split_are_drawn_as_if_there_were_none():
    patients = official((["train", "validation", "test"] + [""] * 7) * 10)
    drawn = patients["fold"] == ""
    table = split_patients(patients, 0, 0.2, 0.2, official="fold").set_index("patient_id")["split"]
    alone = split_patients(patients.drop(columns="fold"), 0, 0.2, 0.2).set_index("patient_id")["split"]
    assert table[patients["patient_id"][~drawn]].tolist() == patients["fold"][~drawn].tolist()
    pd.testing.assert_series_equal(table[patients["patient_id"][drawn]], alone[patients["patient_id"][drawn]])


@pytest.mark.parametrize("assignment", splits.ASSIGNMENTS)
def test_validation_is_drawn_from_official_training_patients(assignment):
    patients = official(["train"] * 800 + ["test"] * 200)
    table = split_patients(patients, 0, 0.2, 0.2, official="fold", assignment=assignment)
    table = table.set_index("patient_id")["split"]
    assert (table[patients["patient_id"][800:]] == "test").all()
    slack = 1 if assignment == "balanced" else 5 * np.sqrt(800 * 0.25 * 0.75)
    assert (table[patients["patient_id"][:800]] == "validation").sum() == pytest.approx(200, abs=slack)


def test_official_words_are_understood_and_others_are_errors():
    images = pd.DataFrame({"patient_id": list("aabcd"), "fold": ["Training", "", "val", "TEST", None]})
    assert splits.official_splits(images, "fold", "here").to_dict() == {
        "a": "train", "b": "validation", "c": "test", "d": "",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"here: .* holds \['holdout'\]"):
        splits.official_splits(images.assign(fold="holdout"), "fold", "here")
    with pytest.raises(PatientInTwoSplits, match="here, official: patient a is in train and test"):
        splits.official_splits(images.assign(fold=["train", "test", "", "", ""]), "fold", "here")


def test_official_splits_without_test_patients_are_an_error():
    with pytest.raises(ValueError, match="no test patients"):
        split_patients(official(["train", "validation", "validation"]), 0, 0.2, 0.2, official="fold")


def site_images():
    """Patient p9 was seen at B and C."""
    patients = [f"p{i}" for i in range(9)] + ["p9", "p9"]
    return pd.DataFrame({"patient_id": patients, "site": [*"AAAABBBCC", "B", "C"], "bleed": 0.0})


def drawn(images, **how):
    table = splits.split_images(images, ["bleed"], 4, 0.2, 0.3, where="splits of heads", **how)
    return table.set_index("patient_id")["split"]


@pytest.mark.parametrize("assignment", splits.ASSIGNMENTS)
def test_an_external_test_site_is_the_test_set_all_of_it(assignment):
    split = drawn(site_images(), external_site="C", assignment=assignment)
    assert set(split.index[split == "test"]) == {"p7", "p8", "p9"}, "p9 was seen there too"
    more = pd.concat([site_images(), pd.DataFrame({"patient_id": "p99", "site": "C", "bleed": 1.0}, index=[0])])
    pd.testing.assert_series_equal(drawn(more, external_site="C")[split.index], drawn(site_images(), external_site="C"))


def test_an_unknown_test_site_names_the_known_ones():
    with pytest.raises(ValueError, match=r"splits of heads: .* 'D', but the sites are 'A' \(4 patients\), 'B' \(4 pat"):
        drawn(site_images(), external_site="D")
    with pytest.raises(ValueError, match="nobody is left to train on"):
        drawn(site_images().assign(site="C"), external_site="C")


def test_sites_that_share_a_patient_are_one():
    """Connected components of the graph of patients and sites: A alone, B and C through p9."""
    sites = splits.linked_sites(site_images())
    assert sites.to_dict() == {f"p{i}": "A" if i < 4 else "B" for i in range(10)}


@given(st.integers(3, 12), st.integers(0, 50), st.sampled_from(splits.ASSIGNMENTS))
@settings(max_examples=30, deadline=None)
def test_a_site_is_never_torn_apart(sites, seed, assignment):
    images = pd.DataFrame({"patient_id": [f"p{i:03d}" for i in range(60)], "bleed": [0.0, 1.0] * 30})
    images["site"] = [f"site {i % sites}" for i in range(60)]
    table = splits.split_images(images, ["bleed"], seed, 0.2, 0.3, by="site", assignment=assignment, where="here")
    splits_of_site = table["split"].groupby(table["patient_id"].map(images.set_index("patient_id")["site"])).nunique()
    assert (splits_of_site == 1).all()
    if assignment == "balanced":
        assert set(table["split"]) == set(SPLITS)


def test_ways_that_exclude_each_other_are_errors():
    patients = cohort(9).assign(fold="train", away=False)
    with pytest.raises(ValueError, match="exclude each other"):
        split_patients(patients, 0, 0.2, 0.2, official="fold", external="away")
    with pytest.raises(ValueError, match=r"'balansed' .* known: stable, balanced"):
        split_patients(cohort(9), 0, 0.2, 0.2, assignment="balansed")


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
    with pytest.raises(splits.EmptyClass, match=r"class 'yes' of 'bleed' has no patient in test .*balanced"):
        splits.assert_all_classes(images.iloc[:5], "bleed", ["no", "yes"], "here")

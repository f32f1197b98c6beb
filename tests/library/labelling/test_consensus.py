"""Several readers, one label: counted by hand, compared with statsmodels, and with the published counts of CQ500."""

import numpy as np
import pandas as pd
import pytest
from cq500_reads import FRACTURES_BY_READER, PUBLISHED, SCANS, table
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from statsmodels.stats import inter_rater

from scanloom import dataset_config
from scanloom.labelling import consensus, label_classes, label_tables, labels

NAN = np.nan
READS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, NAN], [1, NAN, NAN], [NAN, NAN, NAN]])


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("majority", [0, 0, 1, 1, NAN, 1, NAN]),
        ("mean", [0, 0, 1, 1, NAN, 1, NAN]),
        ("any", [0, 1, 1, 1, 1, 1, NAN]),
        ("unanimous", [0, 0, 0, 1, 0, 1, NAN]),
    ],
)
def test_rules_decide_as_they_are_named(rule, expected):
    chosen, share = consensus.combine(READS, 2, rule)
    np.testing.assert_array_equal(chosen, expected)
    np.testing.assert_allclose(share, [0, 1 / 3, 2 / 3, 1, 1 / 2, 1, NAN])


def test_majority_of_several_classes_needs_more_than_half():
    reads = np.array([[2, 2, 0, 1], [2, 2, 2, 0], [1, NAN, 1, 0]])
    np.testing.assert_array_equal(consensus.combine(reads, 3, "majority")[0], [NAN, 2, 1])
    with pytest.raises(ValueError, match="'any' needs two classes, not 3"):
        consensus.combine(reads, 3, "any")
    with pytest.raises(ValueError, match=r"reads hold 2; classes are 0\.\.1"):
        consensus.combine(reads, 2, "majority")


@given(arrays(float, st.tuples(st.integers(1, 30), st.integers(2, 5)), elements=st.sampled_from([0.0, 1.0])))
def test_all_readers_never_find_more_than_most_and_most_never_more_than_any(reads):
    every, most, one = (consensus.combine(reads, 2, rule)[0] for rule in ("unanimous", "majority", "any"))
    known = ~np.isnan(most)
    assert (every <= one).all()
    assert (every[known] <= most[known]).all()
    assert (most[known] <= one[known]).all()
    flipped = consensus.combine(1 - reads, 2, "majority")[0]
    np.testing.assert_array_equal(flipped[known], 1 - most[known])


@given(
    st.integers(2, 5).flatmap(
        lambda classes: arrays(
            int, st.tuples(st.integers(2, 40), st.integers(2, 6)), elements=st.integers(0, classes - 1)
        )
    )
)
def test_kappa_equals_statsmodels(reads):
    counts = consensus.class_counts(reads, 5)
    counts = counts[:, counts.sum(axis=0) > 0]
    kappa = consensus.fleiss_kappa(counts)
    if counts.shape[1] == 1:
        assert np.isnan(kappa), "all reads of one class: chance explains everything"
    else:
        np.testing.assert_allclose(kappa, inter_rater.fleiss_kappa(counts), atol=1e-12)


def test_kappa_of_fleiss_own_example():
    """Table 1 of Fleiss (1971) as reprinted with ten subjects, fourteen raters, five classes: kappa 0.210."""
    counts = [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
    assert consensus.fleiss_kappa(np.array(counts)) == pytest.approx(0.210, abs=5e-4)


def test_weights_count_rows_several_times():
    counts = consensus.class_counts(READS[:4], 2)
    weights = np.array([[2, 0, 1, 3], [1, 1, 1, 1]])
    repeated = consensus.fleiss_kappa(np.repeat(counts, weights[0], axis=0))
    np.testing.assert_allclose(consensus.fleiss_kappa(counts, weights), [repeated, consensus.fleiss_kappa(counts)])
    with pytest.raises(ValueError, match="same number of readers"):
        consensus.fleiss_kappa(consensus.class_counts(READS, 2))


def test_interval_holds_kappa_and_narrows_with_rows():
    counts = consensus.class_counts(READS[:4], 2)
    wide, narrow = (consensus.kappa_interval(np.repeat(counts, n, axis=0)) for n in (10, 1000))
    assert wide[0] < narrow[0] < consensus.fleiss_kappa(counts) < narrow[1] < wide[1]
    assert np.isnan(consensus.kappa_interval(np.array([[3, 0], [3, 0]]))).all()


@pytest.fixture(scope="module")
def cq500(root, tmp_path_factory):
    """(label table, labels of datasets/cq500.yaml) of the made-up reads."""
    folder = tmp_path_factory.mktemp("cq500")
    table().to_csv(folder / "reads.csv", index=False)
    declared = dataset_config.load_dataset("cq500", root / "datasets").labels.model_dump()
    return label_tables.read_labels(folder, declared), declared


def test_agreement_on_cq500_is_as_published(cq500):
    reads, declared = cq500
    assert reads.shape == (SCANS, 44)
    found = label_classes.reader_agreement(reads, declared["columns"]).set_index("label")
    finding_of = declared["multilabel"]["findings"]["columns"]
    assert sorted(finding_of.values()) == sorted(PUBLISHED)
    for name, finding in finding_of.items():
        any_, majority, unanimous, kappa, *_ = PUBLISHED[finding]
        row = found.loc[name]
        assert (row["rows"], row["readers"]) == (SCANS, 3)
        assert (row["any"], row["majority"], row["unanimous"]) == (any_, majority, unanimous), finding
        assert row["disagree"] == any_ - unanimous
        assert row["kappa"] == pytest.approx(kappa, abs=5e-4), finding
        assert row["kappa_low"] < kappa < row["kappa_high"]
    assert tuple(found.loc["fracture", "positive_by_reader"]) == FRACTURES_BY_READER


@pytest.mark.parametrize(("rule", "column"), [("any", 0), ("majority", 1), ("mean", 1), ("unanimous", 2)])
def test_labels_of_cq500_are_the_published_counts(cq500, rule, column):
    reads, declared = cq500
    for name, finding in declared["multilabel"]["findings"]["columns"].items():
        label = declared["columns"][name] | {"consensus": rule}
        index, share = label_classes.class_column(reads, name, label)
        assert index.sum() == PUBLISHED[finding][column]
        assert (share is not None) == (rule == "mean")
        if rule == "majority":
            by_batch = index.groupby(reads["Category"]).sum()
            assert tuple(by_batch[["B1", "B2"]]) == PUBLISHED[finding][4:]


def test_ids_of_cq500_match_with_and_without_hyphens(cq500):
    reads, declared = cq500
    rows = pd.DataFrame({"raw_patient": ["CQ500-CT-7", "CQ500CT8", "CQ500-CT-999"]})
    found = labels.match_rows(rows, reads, "patient_id", "name", declared["normalise"])
    assert found.tolist() == [7, 8, -1]


def test_no_readers_give_an_empty_table_with_typed_columns():
    empty = label_classes.reader_agreement(None, {"bleed": {"classes": ["no", "yes"]}})
    assert empty.empty
    assert empty.dtypes.astype(str).to_dict()["kappa"] == "float64"


def test_findings_of_one_scan_agree_as_in_cq500():
    """Counted from the original file: 222 scans without a finding of anybody, 273 without one of the majority; 6 with
    a bleeding of no kind, none with a kind but no bleeding; 84 with a fracture to anybody, 67 of these with a bleeding.
    """
    reads = table()

    def called(rule: str) -> pd.DataFrame:
        of = {f: reads[[f"R{reader}:{f}" for reader in (1, 2, 3)]].astype(float).to_numpy() for f in PUBLISHED}
        return pd.DataFrame({finding: consensus.combine(values, 2, rule)[0] == 1 for finding, values in of.items()})

    some, most = called("any"), called("majority")
    kinds = most[["IPH", "IVH", "SDH", "EDH", "SAH"]].any(axis=1)
    assert (~some.any(axis=1)).sum() == 222
    assert (~most.any(axis=1)).sum() == 273
    assert ((most.ICH & ~kinds).sum(), (kinds & ~most.ICH).sum()) == (6, 0)
    bleeding = some[["ICH", "IPH", "SDH", "EDH"]].any(axis=1)
    fracture = some[["Fracture", "CalvarialFracture", "OtherFracture"]].any(axis=1)
    assert (bleeding.sum(), fracture.sum(), (bleeding & fracture).sum()) == (246, 84, 67)

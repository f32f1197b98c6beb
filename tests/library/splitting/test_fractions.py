import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom.splitting import fractions
from scanloom.splitting.fractions import ImpossibleFraction, draw_fraction
from scanloom.splitting.splits import EmptyClass, PatientInTwoSplits


def patients(n, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    ids = [f"{number:016x}" for number in rng.permutation(10 * n)[:n]]
    return pd.DataFrame({"patient_id": ids, "stratum": rng.integers(0, classes, n)})


@given(st.integers(1, 150), st.integers(1, 4), st.lists(st.floats(0.001, 1), min_size=2, max_size=4), st.randoms())
@settings(max_examples=60, deadline=None)
def test_fractions_are_nested_stratified_and_independent_of_order(n, classes, shares, shuffle):
    table = patients(n, classes, seed=n)
    order = list(range(n))
    shuffle.shuffle(order)
    before = set()
    for fraction in sorted(shares):
        drawn = draw_fraction(table, fraction, [3])
        pd.testing.assert_frame_equal(drawn, draw_fraction(table.iloc[order], fraction, [3]))
        now = set(drawn["patient_id"])
        assert before <= now
        before = now
        counts = table[table["patient_id"].isin(now)]["stratum"].value_counts()
        for stratum, size in table["stratum"].value_counts().items():
            assert counts[stratum] == max(1, math.ceil(round(fraction * size, 6)))


def test_a_whole_fraction_is_everyone_and_seeds_differ():
    table = patients(40)
    everyone = draw_fraction(table, 1.0, [0, 1])
    assert everyone.groupby("seed")["patient_id"].apply(set).tolist() == [set(table["patient_id"])] * 2
    tenth = draw_fraction(table, 0.1, [0, 1]).groupby("seed")["patient_id"].apply(set)
    assert tenth[0] != tenth[1]


@given(st.integers(1, 80), st.integers(1, 3), st.floats(0.01, 1), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_new_patient_changes_at_most_one_other(n, classes, fraction, seed):
    """The counts are exact, so a newcomer may push one patient out or let one in, and no more."""
    table = patients(n + 1, classes, seed=n)
    before, after = (set(draw_fraction(part, fraction, [seed])["patient_id"]) for part in (table.iloc[:-1], table))
    newcomer = table["patient_id"].iloc[-1]
    assert len((before ^ after) - {newcomer}) <= 1


def test_a_product_that_is_whole_is_not_rounded_up():
    table = pd.DataFrame({"patient_id": [str(i) for i in range(30)], "stratum": 0})
    assert len(draw_fraction(table, 0.1, [0])) == 3


def test_which_seeds_are_asked_for_does_not_change_a_seeds_patients():
    table = patients(40)
    several = draw_fraction(table, 0.2, [0, 1, 2])
    alone = draw_fraction(table, 0.2, [2])
    assert several.loc[several["seed"] == 2, "patient_id"].tolist() == alone["patient_id"].tolist()


@pytest.mark.parametrize("fraction", [0, -0.1, 1.01, float("nan")])
def test_an_impossible_fraction_is_an_error(fraction):
    with pytest.raises(ImpossibleFraction, match="impossible fraction"):
        draw_fraction(patients(4), fraction, [0])


def test_no_labelled_patients_is_an_error():
    with pytest.raises(ImpossibleFraction, match="no labelled training patients"):
        draw_fraction(patients(4).iloc[:0], 0.5, [0])


def test_labelled_patients_are_training_patients_with_a_label():
    images = pd.DataFrame(
        {
            "patient_id": ["a", "a", "b", "c", "d", "e"],
            "split": ["train", "train", "train", "test", "train", "validation"],
            "bleed": [0, 1, 0, 1, np.nan, 0],
        }
    )
    table = fractions.labelled_patients(images, "bleed", ["no", "yes"], "here")
    assert table.to_dict("list") == {"patient_id": ["a", "b"], "stratum": [1, 0]}
    with pytest.raises(EmptyClass, match="class 'unsure' of 'bleed' has no training patient"):
        fractions.labelled_patients(images, "bleed", ["no", "yes", "unsure"], "here")
    with pytest.raises(PatientInTwoSplits):
        fractions.labelled_patients(images.assign(patient_id="a"), "bleed", ["no", "yes"], "here")
    with pytest.raises(ValueError, match="no label column 'blood'"):
        fractions.labelled_patients(images, "blood", ["no", "yes"], "here")

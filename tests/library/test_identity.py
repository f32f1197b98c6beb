"""Pseudonyms and chunks."""

import hashlib
import hmac

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanloom.identity import chunk_of, item_ids, pseudonym, pseudonyms


def test_pseudonym_is_the_documented_hmac():
    expected = hmac.new(b"salt", b"patient|phantom|P 7", hashlib.sha256).hexdigest()[:16]
    assert pseudonym("salt", "patient", "phantom", "P 7") == expected


def test_pseudonym_depends_on_salt_kind_and_namespace():
    base = pseudonym("a", "patient", "x", "1")
    others = [
        pseudonym("b", "patient", "x", "1"),
        pseudonym("a", "series", "x", "1"),
        pseudonym("a", "patient", "y", "1"),
    ]
    assert len({base, *others}) == 4


def test_empty_salt_and_ambiguous_kind_are_errors():
    with pytest.raises(ValueError, match="salt"):
        pseudonym("", "patient", "x", "1")
    with pytest.raises(ValueError, match=r"without '\|'"):
        pseudonym("a", "patient|x", "y", "1")


def test_pseudonyms_of_a_column_equal_one_by_one_and_keep_the_index():
    values = pd.Series(["p1", "p2", "p1"], index=[5, 3, 9])
    hashed = pseudonyms("s", "patient", "d", values)
    assert list(hashed.index) == [5, 3, 9]
    assert list(hashed) == [pseudonym("s", "patient", "d", value) for value in values]


def test_item_ids_have_four_digits():
    assert list(item_ids(pd.Series(["ab", "ab"]), pd.Series([0, 12345]))) == ["ab-0000", "ab-12345"]


@given(st.text(alphabet="0123456789abcdef", min_size=16, max_size=16), st.integers(1, 999))
def test_chunk_is_sha256_modulo_the_number_of_chunks(series_id, chunks):
    assert chunk_of(series_id, chunks) == int(hashlib.sha256(series_id.encode()).hexdigest(), 16) % chunks


def test_chunks_are_about_equally_full():
    counts = pd.Series([chunk_of(f"series {i}", 8) for i in range(8000)]).value_counts()
    # Binomial: 1000 expected, standard deviation 30.
    assert counts.min() > 850
    assert counts.max() < 1150

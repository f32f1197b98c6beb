"""The labels of a dataset file: what contradicts itself is refused."""

import pytest

from scanloom.labelling.label_config import Label, Labels, Masks


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "binary", "classes": ["a", "b", "c"]}, "a binary label has two classes, not 3"),
        ({"kind": "binary", "classes": ["a", "b"], "readers": ["x", "y"], "contains": "z"}, "exclude each other"),
        ({"kind": "multiclass", "classes": ["a", "b", "c"], "one_hot": ["x", "y"]}, "2 columns for 3 classes"),
        ({"kind": "ordinal", "classes": ["a", "b", "c"], "readers": ["x", "y"], "consensus": "any"}, "two classes"),
        ({"kind": "binary", "classes": ["a", "b"], "values": {"x": 2}}, "'x' is class 2, but the classes are 0 to 1"),
        ({"kind": "binary", "classes": ["a", "b"], "readers": ["x", "y"], "column": "z"}, "drop it"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Label(**given)


def test_label_tables_that_contradict_themselves_are_refused():
    with pytest.raises(ValueError, match="is no regular expression"):
        Labels(extract={"path": "(?P<x>"})
    with pytest.raises(ValueError, match=r"names no group; write \(\?P<column>...\)"):
        Labels(extract={"path": "abc"})
    with pytest.raises(ValueError, match="`table` is null"):
        Labels(lists={"split": {"train": "a.txt"}})
    with pytest.raises(ValueError, match="either table_column or file"):
        Masks()
    with pytest.raises(ValueError, match="'dx' is a label of that name already"):
        Labels(
            columns={"dx": {"kind": "binary", "classes": ["a", "b"]}}, multilabel={"findings": {"columns": {"dx": "D"}}}
        )

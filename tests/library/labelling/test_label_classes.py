"""Cells of a label table as class indices."""

import numpy as np
import pandas as pd
import pytest

from scanloom.labelling import label_classes
from scanloom.labelling.label_config import Label
from scanloom.labelling.label_tables import LabelError


def column(cells, **label):
    table = pd.DataFrame({"x": cells} if isinstance(cells, list) else cells, dtype="str")
    given = Label(**{"kind": "binary", "classes": ["no", "yes"], **label}).model_dump()
    return label_classes.class_column(table, "x", given)[0].tolist()


@pytest.mark.parametrize(
    ("policy", "blank", "expected"),
    [
        ("ignore", None, [1, 0, np.nan, np.nan]),
        ("zero", None, [1, 0, 0, np.nan]),
        ("one", None, [1, 0, 1, np.nan]),
        ("ignore", 0, [1, 0, np.nan, 0]),
        ("one", 1, [1, 0, 1, 1]),
    ],
)
def test_uncertain_and_blank_cells_follow_the_policy(policy, blank, expected):
    """Irvin et al. (2019), section 3: U-Ignore, U-Zeros and U-Ones on the codes of CheXpert's table."""
    found = column(["1.0", "0.0", "-1.0", ""], uncertain=["-1"], uncertain_as=policy, blank=blank)
    np.testing.assert_array_equal(found, expected)


def test_uncertain_without_being_declared_is_an_error():
    with pytest.raises(LabelError, match=r"'-1\.0' is no class"):
        column(["1.0", "-1.0"])


def test_an_item_of_a_list_is_found_as_a_whole():
    cells = ["Mass|Nodule", "Masses", "No Finding", "", " Nodule | Mass "]
    np.testing.assert_array_equal(column(cells, contains="Mass"), [1, 0, 0, np.nan, 1])
    np.testing.assert_array_equal(column(cells, contains="Mass", blank=0), [1, 0, 0, 0, 1])
    np.testing.assert_array_equal(column(["a.b", "ab"], contains="a", separator="."), [1, 0])


def test_one_hot_columns_become_a_class():
    cells = {"MEL": ["1.0", "0", "0"], "NV": ["0.0", "0", "1"], "BCC": ["0", "0", ""]}
    label = {"kind": "multiclass", "classes": ["mel", "nv", "bcc"], "one_hot": ["MEL", "NV", "BCC"]}
    np.testing.assert_array_equal(column(cells, **label), [0, np.nan, 1])
    with pytest.raises(LabelError, match=r"1 rows hold 1 in several one_hot columns \(data row 1 first\)"):
        column({**cells, "BCC": ["1", "0", "0"]}, **label)
    with pytest.raises(LabelError, match=r"hold 0\.5; expected 0 and 1"):
        column({**cells, "BCC": ["0.5", "0", "0"]}, **label)


def test_a_class_called_none_is_no_missing_value():
    assert column(["none", "some"], classes=["none", "some"]) == [0, 1]
    assert column(["none", "1"], values={"none": 0, "1": 1}, blank=1) == [0, 1]

"""What of a header may leave `private/`."""

import pandas as pd

from scanloom.cataloguing.catalogue_columns import COLUMNS, SERIES_COLUMNS, presentable


def test_text_that_may_name_somebody_is_withheld():
    texts = pd.Series(["B30f", "HEAD", "QUINCE^ADAM", "MRN 4711000", "Müller", "", "ORIGINAL\\PRIMARY", "for PT-77X"])
    patients = pd.Series([""] * 7 + ["PT-77X"])
    shown = presentable(texts, patients)
    assert shown.tolist() == ["B30f", "HEAD", "withheld", "withheld", "withheld", "", "ORIGINAL\\PRIMARY", "withheld"]


def test_every_column_that_leaves_is_listed_and_no_raw_identifier_is_among_them():
    raw = {"raw_patient", "series_uid", "study_uid", "sop_uid", "institution", "path", "series_description"}
    assert raw.isdisjoint(COLUMNS)
    assert raw - {"sop_uid"} <= set(SERIES_COLUMNS)

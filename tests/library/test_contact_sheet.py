"""The contact sheet: classes in turn, one image per patient, both pictures of the same slice."""

import numpy as np
import pandas as pd

from scanloom.contact_sheet import BEFORE_PX, choose_cases, contact_sheet
from scanloom.readers._volume import Volume

STEPS = [
    {"name": "hu_window", "settings": {"windows": ["brain", "bone"]}},
    {"name": "resize", "settings": {"size_px": [8, 8]}},
]


def images(patients=6, slices=3):
    rows = [
        {
            "series_id": f"s{p}",
            "patient_id": f"p{p}",
            "slice_index": z,
            "item_id": f"s{p}-{z:04d}",
            "bleed": float(p % 2),
        }
        for p in range(patients)
        for z in range(slices)
    ]
    return pd.DataFrame(rows)


def test_cases_are_of_different_patients_and_classes_take_turns():
    cases = choose_cases(images(), "bleed", 4, seed=1)
    assert cases.patient_id.is_unique
    assert cases.bleed.tolist() == [0, 1, 0, 1]


def test_cases_do_not_depend_on_the_order_of_the_table():
    shuffled = images().sample(frac=1, random_state=3)
    assert (
        choose_cases(shuffled, "bleed", 4, 1).item_id.tolist() == choose_cases(images(), "bleed", 4, 1).item_id.tolist()
    )


def test_before_and_after_show_the_same_slice():
    """Slice z of patient p is one constant: 10 HU per slice number, so both pictures can be told apart."""

    def read(rows):
        values = np.stack([np.full((16, 16), 20.0 * z, np.float32) for z in range(len(rows))])
        return Volume(values, "HU", (5.0, 1.0, 1.0))

    table = images()
    sheet = contact_sheet(read, table, table, STEPS, 2, "uint8", "bleed", ["no", "yes"], 6, seed=0)
    assert sheet["before"].shape == (6, BEFORE_PX, BEFORE_PX)
    assert sheet["after"].shape == (6, 8, 8, 2)
    assert set(sheet["label"]) == {"no", "yes"}
    for item, after in zip(sheet["item_id"], sheet["after"], strict=True):
        hu = 20.0 * int(item[-4:])
        # Brain window: level 40, width 80 HU, so 0 HU is 0 and 80 HU is 255.
        np.testing.assert_allclose(after[..., 0], round(255 * hu / 80), atol=1)

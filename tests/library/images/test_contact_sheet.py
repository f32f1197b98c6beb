"""The contact sheet: classes in turn, one image per patient, both pictures of the same slice."""

import numpy as np
import pandas as pd

from scanloom.images.contact_sheet import BEFORE_PX, STRIP_PX, STRIPS, choose_cases, contact_sheet
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


def test_without_labels_cases_are_still_shown():
    table = images().assign(bleed=np.nan)
    assert choose_cases(table, "bleed", 4, seed=1).patient_id.is_unique
    assert len(choose_cases(table.drop(columns="bleed"), None, 4, seed=1)) == 4

    def read(rows):
        return Volume(np.zeros((3, 16, 16), np.float32), "HU", (5.0, 1.0, 1.0))

    sheet = contact_sheet(read, table, table, STEPS, 2, "uint8", None, [], 2, seed=0)
    assert sheet["label"].tolist() == ["", ""]


def ramp(rows):
    """Slice z is a ramp from 0 to 100 HU along x, plus z."""
    values = np.stack([np.tile(np.linspace(0, 100, 64, dtype=np.float32), (32, 1)) + z for z in range(3)])
    return Volume(values, "HU", (5.0, 1.0, 2.0))


def followed(steps, rank=2, dtype="uint8"):
    table = images()
    return contact_sheet(ramp, table, table, steps, rank, dtype, "bleed", ["no", "yes"], 6, seed=0)


def test_the_first_cases_are_followed_through_every_step():
    sheet = followed(STEPS)
    assert sheet["stages"].tolist() == ["as read", "hu_window", "resize", "stored"]
    assert sheet["stage_settings"].tolist() == ["", "windows: brain, bone", "size px: 8, 8", "uint8"]
    assert sheet["strips"].shape == (STRIPS, 4, 2, STRIP_PX, STRIP_PX)
    assert sheet["strip_channels"].tolist() == [["image", ""], ["brain", "bone"], ["brain", "bone"], ["brain", "bone"]]
    assert sheet["channel_counts"].tolist() == [1, 2, 2, 2]
    assert sheet["strip_size"][0].tolist() == [[3, 32, 64], [3, 32, 64], [3, 8, 8], [3, 8, 8]]
    np.testing.assert_allclose(sheet["strip_spacing_mm"][0, 2], [5, 4, 16])


def test_grey_is_told_in_hu_and_the_range_in_what_the_step_gives():
    sheet = followed(STEPS)
    # Brain: level 40, width 80; bone: level 600, width 2800.
    np.testing.assert_allclose(sheet["strip_grey"][0, 1], [[0, 80], [-800, 2000]], atol=1e-3)
    np.testing.assert_allclose(sheet["strip_grey"][0, 3], [[0, 255], [0, 255]])
    np.testing.assert_allclose(sheet["strip_span"][0, 0, 0], [0, 102])
    np.testing.assert_allclose(sheet["strip_span"][0, 1, 0], [0, 1])
    histograms = sheet["strip_histogram"][0].sum(axis=-1)
    np.testing.assert_allclose(histograms, [[1, 0], [1, 1], [1, 1], [1, 1]], atol=1e-6)


def test_the_picture_of_a_stage_is_the_slice_in_its_grey():
    """The chosen slice z is a ramp: its brightest pixel in the brain window is min((100 + z) / 80, 1) of white."""
    sheet = followed([{"name": "hu_window", "settings": {"windows": [{"level": 100, "width": 200}]}}])
    for case in range(STRIPS):
        z = int(sheet["item_id"][case][-4:])
        picture = sheet["strips"][case, 1, 0]
        assert abs(int(picture.max()) - 255 * (100 + z) / 200) <= 2
        np.testing.assert_array_equal(picture, sheet["strips"][case, 2, 0])  # stored shows the same


def test_hounsfield_units_stored_as_they_are_keep_their_grey():
    sheet = followed([{"name": "resize", "settings": {"size_px": [32, 64]}}], rank=3, dtype="uint16")
    difference = sheet["strips"][:, 0].astype(int) - sheet["strips"][:, 2]
    assert np.abs(difference).max() <= 1  # stored HU are whole numbers
    np.testing.assert_allclose(sheet["strip_grey"][0, 2, 0], [0, 3024])  # HU + 1024


def test_colours_are_one_picture():
    table = images()

    def read(rows):
        values = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 3)).astype(np.float32)
        return Volume(values, "0-255", (np.nan,) * 3, channels=("red", "green", "blue"))

    steps = [{"name": "scale_range", "settings": {}}]
    sheet = contact_sheet(read, table, table, steps, 2, "uint8", "bleed", ["no", "yes"], 6, seed=0)
    assert sheet["strips"].shape == (STRIPS, 3, 1, STRIP_PX, STRIP_PX, 3)
    np.testing.assert_array_equal(sheet["strips"][:, 0], sheet["strips"][:, 2])

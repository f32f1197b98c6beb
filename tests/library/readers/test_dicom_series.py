"""Grouping of headers into series: phases, missing slices, what is said about them."""

import numpy as np
import pytest

from scanloom.readers import dicom
from scanloom.readers._scan import ScanResult, file_frame, image_frame
from scanloom.readers.dicom import Settings


def header(number, z, uid="1.2.3", **more):
    """An axial slice at height z."""
    row = {"path": f"{uid}/{number:03d}", "sop_uid": f"{uid}.{number}", "series_uid": uid, "raw_patient": "Quince"}
    row |= {"rows": 8, "columns": 8, "spacing_y_mm": 1.0, "spacing_x_mm": 1.0, "instance_number": float(number)}
    row |= {f"orientation_{i}": value for i, value in enumerate((1.0, 0, 0, 0, 1, 0))}
    return row | {"position_0": 0.0, "position_1": 0.0, "position_2": float(z)} | more


def grouped(rows, **choices):
    scan = ScanResult(file_frame(dict.fromkeys((row["path"] for row in rows), "")), image_frame(rows))
    return dicom.group_series(scan, Settings(**choices))


def phases_of(count, heights=(0, 5, 10), **more):
    return [
        header(1 + phase * len(heights) + place, z, temporal_position=float(phase + 1), **more)
        for phase in range(count)
        for place, z in enumerate(heights)
    ]


def test_complete_phases_become_series_of_their_own_in_their_order():
    result = grouped(phases_of(2)[::-1] + [header(1, z, uid="1.9") for z in (0,)])
    assert result.series.series_key.tolist() == ["1.2.3#1", "1.2.3#2", "1.9"]
    assert result.series.reason.tolist() == ["", "", ""]
    assert result.series.detail.tolist()[:2] == [f"phase {number} of 2 by temporal position" for number in (1, 2)]
    first = result.images[result.images.series_key == "1.2.3#1"]
    assert first.instance_number.tolist() == [1, 2, 3]
    assert first.slice_index.tolist() == [0, 1, 2]
    assert first.position_mm.tolist() == [0, 5, 10]


def test_every_image_is_in_exactly_one_series_whether_split_or_not():
    rows = phases_of(3)
    for choice in ("split", "exclude", "keep"):
        images = grouped(rows, repeated_positions=choice).images
        assert sorted(images.path) == sorted(row["path"] for row in rows)


def test_complete_phases_that_are_not_to_be_split_are_named():
    result = grouped(phases_of(2), repeated_positions="exclude")
    assert result.series.reason.tolist() == ["multi-phase"]
    assert result.series.detail.tolist() == ["2 phases by temporal position"]
    assert grouped(phases_of(2), repeated_positions="keep").series.reason.tolist() == [""]


def test_incomplete_phases_are_excluded_with_the_counts():
    result = grouped(phases_of(2)[:-1])
    assert result.series.reason.tolist() == ["repeated positions"]
    assert result.series.detail.tolist() == ["5 images at 3 positions, 1 to 2 at each: phases are incomplete"]


def test_a_phase_with_a_fault_of_its_own_is_excluded_for_it():
    rows = phases_of(2, heights=(0, 5, 10, 20, 25))
    result = grouped(rows)
    assert result.series.reason.tolist() == ["missing slices", "missing slices"]
    assert result.series.detail[0] == "phase 1 of 2 by temporal position; missing slices 4 of 6"
    assert result.series.n_missing.tolist() == [1, 1]


def test_the_missing_slices_are_listed():
    heights = [z * 2.5 for z in range(40) if z not in (3, 17, 18, 19, 35)]
    result = grouped([header(number, z) for number, z in enumerate(heights)])
    assert result.series.reason.tolist() == ["missing slices"]
    assert result.series.detail.tolist() == ["missing slices 4, 18-20, 36 of 40"]
    assert result.series.n_missing.tolist() == [5]


def test_changing_distances_and_a_tilt_are_told_in_numbers():
    tilt = np.radians(14)
    lean = {"orientation_4": np.cos(tilt), "orientation_5": np.sin(tilt)}
    along = [0, 4, 8, 9, 16, 23]  # along the normal
    rows = [header(number, z / np.cos(tilt), **lean) for number, z in enumerate(along)]
    result = grouped(rows, unequal_spacing="exclude")
    assert result.series.reason.tolist() == ["unequal spacing"]
    assert result.series.detail.tolist() == ["gaps from 1 to 7 mm; tilted 14.0 degrees"]


def test_a_sound_series_has_no_detail_and_nothing_missing():
    result = grouped([header(number, z) for number, z in enumerate((0, 5, 10))])
    assert result.series[["reason", "detail", "n_missing"]].values.tolist() == [["", "", 0]]


def test_the_detail_names_no_patient_and_no_path():
    text = " ".join(grouped(phases_of(2)[:-1]).series.detail)
    assert "Quince" not in text
    assert "1.2.3" not in text


@pytest.mark.parametrize("choice", ["split", "exclude"])
def test_no_images_give_no_series(choice):
    scan = ScanResult(file_frame({"x": "not a DICOM file"}), image_frame([]))
    assert len(dicom.group_series(scan, Settings(repeated_positions=choice)).series) == 0

"""The fast walk understands a header as pydicom does, or not at all."""

import os
import random
from pathlib import Path

import pytest
from dicom_bytes import CT, EXPLICIT, IMPLICIT, element, file_of, sequence, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_files
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from scanloom.readers import _dicom_walk
from scanloom.readers._dicom_headers import by_pydicom, by_walk
from scanloom.readers._dicom_open import quiet_pydicom
from scanloom.readers._scan import IMAGE_COLUMNS

SQ, PRIVATE = 0x00081140, 0x00091010  # ReferencedImageSequence; an element that no dictionary knows


def comparable(found) -> tuple:
    """Everything a file was found to hold, NaN equal to NaN, and what is absent equal to its default."""
    rows = [{name: repr(row.get(name, default)) for name, default in IMAGE_COLUMNS.items()} for row in found.images]
    return found.reason, str(found.syntax), found.has_modality_lut, rows


def assert_same(path: str) -> bool:
    """Compare, and say whether the walk had no doubt. What it accepts, pydicom must be able to read."""
    walked = by_walk(path)
    if walked is None:
        return False
    with quiet_pydicom():
        assert comparable(walked) == comparable(by_pydicom(path))
    return True


def dicom_files(folder: Path) -> list[str]:
    """Files with DICOM's magic word."""
    files = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names]
    return [path for path in files if open(path, "rb").read(132)[128:] == b"DICM"]


@pytest.fixture
def forgetful(monkeypatch):
    """No runs of other tests, and none kept for them."""
    for name in ("_meta_runs", "_explicit_runs", "_implicit_runs"):
        monkeypatch.setattr(_dicom_walk, name, {})


# --- real files ----------------------------------------------------------------------------------


def test_every_real_file_is_understood_as_by_pydicom(shared_data):
    files = dicom_files(shared_data / "dicom_cases") + dicom_files(shared_data / "ct_head_tilt_dicom")
    files += dicom_files(shared_data / "ct_contrast_dicom_part") + dicom_files(shared_data / "sts_pet_ct_mr_part")[::4]
    walked = sum(assert_same(path) for path in files)
    # What is left to pydicom: several frames, functional groups, modality LUTs, implicit group 2.
    assert walked > 0.9 * len(files) > 0


def test_every_file_that_pydicom_is_tested_with_is_understood_as_by_pydicom():
    files = [path for path in get_testdata_files() if os.path.isfile(path)]
    assert sum(assert_same(path) for path in files) > 100


def test_runs_learned_in_one_order_do_not_change_what_is_read_in_another(shared_data, forgetful):
    files = dicom_files(shared_data / "ct_contrast_dicom_part") + dicom_files(shared_data / "dicom_cases")
    first = [by_walk(path) for path in files]
    for seed in range(3):
        order = random.Random(seed).sample(range(len(files)), len(files))
        again = {number: by_walk(files[number]) for number in order}
        for number, found in enumerate(first):
            assert (found is None) == (again[number] is None)
            assert found is None or comparable(found) == comparable(again[number])


# --- damaged files -------------------------------------------------------------------------------


def base_files() -> list[bytes]:
    """Both encodings, with sequences, private elements and overlays; every kind of value that is read."""
    files = []
    for syntax in (EXPLICIT, IMPLICIT):
        implicit = syntax == IMPLICIT
        inner = element(0x00081150, "UI", "1.2.3.9", implicit) + sequence(SQ, [b""], implicit)
        more = {
            SQ: sequence(SQ, [inner, inner], implicit),
            0x00081111: element(0x00081111, "SQ", sequence(SQ, [inner], implicit)[8:], implicit),
            PRIVATE: element(PRIVATE, "UN", b"Vendor", implicit),
            0x60003000: element(0x60003000, "OW", bytes(2), implicit),
        }
        attributes = {
            "SpecificCharacterSet": "ISO_IR 100",
            "InstitutionName": b"Universit\xe4t",
            "DiffusionBValue": 1.5,
        }
        files += [file_of(CT, syntax), file_of(CT | attributes, syntax, more)]
    return files


@pytest.fixture(scope="module")
def damaged_path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "file.dcm"


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_damaged_header_is_understood_as_by_pydicom_or_not_at_all(damaged_path, data):
    damaged = bytearray(data.draw(st.sampled_from(base_files())))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(132, len(damaged) - 1))
        kind = data.draw(st.sampled_from(["byte", "remove", "insert", "copy", "cut", "word"]))
        some = data.draw(st.binary(min_size=1, max_size=8))
        if kind == "byte":
            damaged[at] = some[0]
        elif kind == "remove":
            del damaged[at : at + len(some)]
        elif kind == "insert":
            damaged[at:at] = some
        elif kind == "copy":
            source = data.draw(st.integers(132, len(damaged) - 1))
            damaged[at : at + 16] = damaged[source : source + 16]
        elif kind == "cut":
            damaged = damaged[:at]
        else:
            damaged[at : at + 2] = data.draw(st.sampled_from([b"UN", b"SQ", b"OB", b"\0\0", b"\xff\xff", b"DS", b"LO"]))
        if len(damaged) <= 132:
            break
    assert_same(write(damaged_path, bytes(damaged)))


def test_the_undamaged_files_leave_no_doubt(tmp_path):
    for number, data in enumerate(base_files()):
        assert assert_same(write(tmp_path / str(number), data))


# --- what is passed, and what is a doubt ---------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_long_elements_are_jumped_over_and_long_sequences_read_on(tmp_path, monkeypatch, syntax):
    implicit = syntax == IMPLICIT
    items = [element(0x00081150, "UI", f"1.2.{number}", implicit) for number in range(3000)]
    more = {PRIVATE: element(PRIVATE, "UN", bytes(50_000), implicit), SQ: sequence(SQ, items, implicit)}
    path = write(tmp_path / "long", file_of(CT, syntax, more))
    read = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(arguments[1]) or pread(*arguments))
    assert assert_same(path)
    (row,) = by_walk(path).images
    assert (row["kvp"], row["private_elements"]) == (120.0, 1)
    monkeypatch.undo()
    without_sequence = write(tmp_path / "jumped", file_of(CT, syntax, {PRIVATE: more[PRIVATE]}))
    monkeypatch.setattr(os, "pread", lambda *arguments: read.append(arguments[1]) or pread(*arguments))
    read.clear()
    by_walk(without_sequence)
    assert sum(read) <= 3 * _dicom_walk.WINDOW


@pytest.mark.parametrize(
    "data",
    [
        file_of(CT, "1.2.840.10008.1.2.2"),  # big endian
        file_of(CT, "1.2.840.10008.1.2.1.99"),  # deflated
        file_of(CT, "1.2.3"),  # unknown
        file_of(CT)[132:],  # no preamble
        file_of(CT | {"NumberOfFrames": "2", "PixelData": bytes(24)}),
        file_of(CT, more={0x00283000: sequence(0x00283000, [])}),  # modality LUT
        file_of(CT, more={0x52009230: sequence(0x52009230, [])}),  # functional groups
        file_of(CT, more={0x00180060: element(0x00180060, "LO", "120")}),  # KVP with another VR
        file_of(CT, more={0x00180060: element(0x00180060, "", "120")}),  # with none
        file_of(CT | {"KVP": "12O"}),
        file_of(CT | {"ImagePositionPatient": "1\\2"}),
        file_of(CT | {"SpecificCharacterSet": "KLINGON"}),
        file_of(CT, more={0x00090001: element(0x00290001, "LO", "out of order")}),
        file_of(CT, more={0x00090001: element(0x00090001, "LO", "odd").replace(b"\4\0odd ", b"\3\0odd")}),
    ],
)
def test_whatever_is_unusual_is_left_to_pydicom(tmp_path, data):
    assert by_walk(write(tmp_path / "file", data)) is None


def test_values_do_not_come_from_an_earlier_file_of_the_series(tmp_path):
    for number in range(1, 120):
        position = f"{number / 8}\\-{number}\\{number * 0.5:.3f}"
        changed = {"SOPInstanceUID": f"1.2.3.{number}", "InstanceNumber": str(number), "ImagePositionPatient": position}
        path = write(tmp_path / "slice", file_of(CT | changed | {"Manufacturer": "Q" * (1 + number // 30)}))
        (row,) = by_walk(path).images
        assert row["sop_uid"] == f"1.2.3.{number}"
        assert row["instance_number"] == number
        assert [row[f"position_{i}"] for i in range(3)] == [number / 8, -number, number * 0.5]
        assert row["manufacturer"] == "Q" * (1 + number // 30)


def test_runs_are_forgotten_when_there_are_too_many(tmp_path, monkeypatch, forgetful):
    monkeypatch.setattr(_dicom_walk, "MOST_RUNS", 5)
    for number in range(60):
        path = write(tmp_path / "slice", file_of(CT | {"Manufacturer": "Q" * (number % 50), "KVP": "1" * (number % 3)}))
        assert assert_same(path)
        assert len(_dicom_walk._explicit_runs) <= 5


def test_value_representations_are_those_of_the_standard():
    known = {vr.encode() for vr in VR if len(vr) == 2}
    assert {vr.encode() for vr in EXPLICIT_VR_LENGTH_32} == _dicom_walk.LONG_VR
    assert known == _dicom_walk.LONG_VR | _dicom_walk.SHORT_VR

"""Headers that anonymisers damaged are read as their undamaged originals are."""

import io
import re
import struct

import pytest
from dicom_bytes import CT, EXPLICIT, IMPLICIT, LONG, element, file_of, meta, write
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.errors import InvalidDicomError

from scanloom.readers._dicom_headers import read_header
from scanloom.readers._dicom_open import open_dicom, quiet_pydicom

CELLS = struct.pack("<6H", 0, 1024, 1064, 2000, 3000, 4095)
WHOLE = CT | {"PixelData": CELLS}


def with_vr(vr_of, length_bits: int = 16) -> bytes:
    """The file with `vr_of(keyword, its VR)` as every element's VR; lengths of 16 or, like implicit VR, 32 bits."""
    parts = []
    for keyword in sorted(WHOLE, key=tag_for_keyword):
        tag, vr = tag_for_keyword(keyword), dictionary_VR(tag_for_keyword(keyword))
        vr = "OW" if vr == "OB or OW" else vr
        written, value = vr_of(keyword, vr), element(tag, "OW", WHOLE[keyword])[12:]
        raw = element(tag, vr, WHOLE[keyword])
        value = raw[12:] if vr in LONG else raw[8:]
        start = raw[:4]
        if written == vr:
            parts.append(raw)
        elif written == "UN":
            parts.append(start + b"UN" + struct.pack("<HL", 0, len(value)) + value)
        elif length_bits == 32:
            parts.append(start + struct.pack("<L", len(value)) + value)
        elif vr in LONG:
            parts.append(start + written.encode() + struct.pack("<HL", 0, len(value)) + value)
        else:
            parts.append(start + written.encode() + struct.pack("<H", len(value)) + value)
    return meta(EXPLICIT) + b"".join(parts)


def row_of(tmp_path, data: bytes) -> dict:
    """The one image of a file that must be usable."""
    reason, rows = read_header(write(tmp_path / "file", data), "CT", True)
    assert reason == ""
    return {"header_repaired": False} | {name: v for name, v in rows[0].items() if v == v and v != ""}


def undamaged(tmp_path) -> dict:
    return row_of(tmp_path, file_of(WHOLE)) | {"header_repaired": True}


BLANKS = ["\0\0", "  ", "??", "--"]


@pytest.mark.parametrize("blank", BLANKS)
def test_lost_value_representations_come_from_the_dictionary(tmp_path, blank):
    assert row_of(tmp_path, with_vr(lambda keyword, vr: blank)) == undamaged(tmp_path)


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("kept", ["Modality", "Rows", "SOPInstanceUID"])
def test_some_lost_value_representations_come_from_the_dictionary(tmp_path, blank, kept):
    data = with_vr(lambda keyword, vr: vr if keyword >= kept else blank)
    assert row_of(tmp_path, data) == undamaged(tmp_path)


def test_value_representations_that_are_un_or_none_at_all_come_from_the_dictionary(tmp_path):
    for wrong in ("UN", "ZZ"):
        data = with_vr(lambda keyword, vr, wrong=wrong: vr if vr == "OW" else wrong)
        assert row_of(tmp_path, data) == undamaged(tmp_path)


def test_lengths_of_32_bits_where_value_representations_should_be(tmp_path):
    assert row_of(tmp_path, with_vr(lambda keyword, vr: "", length_bits=32)) == undamaged(tmp_path)
    assert row_of(tmp_path, with_vr(lambda keyword, vr: vr if keyword < "M" else "", 32)) == undamaged(tmp_path)


def test_a_header_encoded_otherwise_than_its_transfer_syntax_says(tmp_path):
    explicit = file_of(WHOLE)
    said_implicit = meta(IMPLICIT) + explicit[len(meta(EXPLICIT)) :]
    found = row_of(tmp_path, said_implicit)
    assert found.pop("transfer_syntax") == "Implicit VR Little Endian"
    assert found == {k: v for k, v in undamaged(tmp_path).items() if k != "transfer_syntax"}


@pytest.mark.parametrize("blank", [*BLANKS, "ZZ"])
@pytest.mark.parametrize("keyword", sorted(WHOLE))
def test_one_lost_value_representation_comes_from_the_dictionary(tmp_path, blank, keyword):
    data = with_vr(lambda name, vr: blank if name == keyword else vr)
    assert row_of(tmp_path, data) == undamaged(tmp_path)


@given(lost=st.sets(st.sampled_from(sorted(WHOLE))), blank=st.sampled_from(BLANKS))
def test_any_set_of_lost_value_representations_can_be_repaired(tmp_path_factory, lost, blank):
    folder = tmp_path_factory.mktemp("lost")
    data = with_vr(lambda keyword, vr: blank if keyword in lost else vr)
    assert row_of(folder, data) == undamaged(folder) | {"header_repaired": bool(lost)}


def test_pixels_of_a_repaired_file_are_the_original_ones(tmp_path):
    from scanloom.readers._dicom_pixels import read_frames

    whole = read_frames(write(tmp_path / "whole", file_of(WHOLE)), [-1])
    for blank in BLANKS:
        path = write(tmp_path / "damaged", with_vr(lambda keyword, vr, blank=blank: blank))
        assert (read_frames(path, [-1]).values == whole.values).all()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2,5", 2.5),
        ("2.5 mm", 2.5),
        (b"\x00 2.5", 2.5),
        (b"2.5\x00\x00", 2.5),
        ("2.5\\", 2.5),
        ("+2.5E0", 2.5),
        (",5", 0.5),
    ],
)
def test_numbers_with_commas_units_and_odd_padding_are_read(tmp_path, written, read):
    assert row_of(tmp_path, file_of(WHOLE | {"SliceThickness": written}))["slice_thickness_mm"] == read


@pytest.mark.parametrize("written", ["2.5O", "1,000,5", "thin", "2.5\\mm"])
def test_what_is_no_number_is_unknown(tmp_path, written):
    row = row_of(tmp_path, file_of(WHOLE | {"SliceThickness": written}))
    assert "slice_thickness_mm" not in row
    assert row["header_repaired"]


@pytest.mark.parametrize("written", ["1O", "1\\2", "one"])
def test_a_file_whose_pixel_values_are_not_known_is_not_usable(tmp_path, written):
    path = write(tmp_path / "file", file_of(WHOLE | {"RescaleSlope": written}))
    assert read_header(path, None, True) == ("unreadable", [])


def test_a_number_written_as_text_is_one(tmp_path):
    rows = element(tag_for_keyword("Rows"), "LO", "2")
    kvp = element(tag_for_keyword("KVP"), "LO", "120")
    row = row_of(tmp_path, file_of(WHOLE, more={tag_for_keyword("Rows"): rows, tag_for_keyword("KVP"): kvp}))
    assert (row["rows"], row["kvp"]) == (2, 120.0)
    assert row["header_repaired"]


@pytest.mark.parametrize("vr", ["OB", "UN", "US", "ZZ"])
def test_text_written_as_bytes_is_text(tmp_path, vr):
    tag = tag_for_keyword("Modality")
    row = row_of(tmp_path, file_of(WHOLE, more={tag: element(tag, vr, b"CT")}))
    assert row == undamaged(tmp_path)


def test_an_undamaged_file_is_not_said_to_be_repaired(tmp_path, shared_data):
    assert not row_of(tmp_path, file_of(WHOLE))["header_repaired"]
    found = [read_header(str(path), None, False)[1] for path in (shared_data / "ct_head_tilt_dicom").glob("*/*.dcm")]
    assert not any(row.get("header_repaired") for rows in found for row in rows)


def test_nothing_is_made_of_what_is_not_dicom():
    for data in (b"", b"<html>", bytes(200)):
        with pytest.raises(InvalidDicomError):
            open_dicom(io.BytesIO(data))


def test_repair_gives_up_where_no_reading_makes_sense(tmp_path):
    data = bytearray(with_vr(lambda keyword, vr: "\0\0"))
    at = data.index(b"Kopf")
    data[at - 2 : at] = b"\x03\x01"  # a length into the middle of another element
    with quiet_pydicom():
        reason, _ = read_header(write(tmp_path / "file", bytes(data)), None, True)
    assert reason in ("truncated", "unreadable", "no pixel data", "not a DICOM file")
    assert not re.search("Kopf", reason)

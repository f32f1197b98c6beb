"""The walk over all files: every one is found, once, under a name that can be written down."""

import os

import pytest

from scanloom.readers._scan import NOT_UTF8, images_alike, read_files


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def answer(path):
    """A reader that takes every file."""
    return "", os.path.basename(path)


def test_a_name_that_is_not_utf8_is_counted_with_that_reason(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"M\xfcller.dcm")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    touch(tmp_path / "Müller.dcm")
    read = read_files(answer, tmp_path, ignore=[], declared=frozenset(), foreign="foreign")
    assert {path: reason for path, (reason, _) in read.results.items()} == {
        "M\\xfcller.dcm": NOT_UTF8,
        "Müller.dcm": "",
    }


def test_images_in_bulk_have_the_columns_and_types_of_single_ones():
    table = images_alike([(2, {"path": "a", "frame": [3, 4]}), (1, {"path": "b", "signed": True})])
    assert table.path.tolist() == ["a", "a", "b"]
    assert table.frame.tolist() == [3, 4, -1]
    assert table.signed.tolist() == [False, False, True]
    assert (images_alike([]).dtypes == table.dtypes).all()

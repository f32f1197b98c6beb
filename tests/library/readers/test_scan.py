"""The walk over all files: every one is found, once, under a name that can be written down."""

import os

import pytest

from scanloom.readers._scan import NOT_UTF8, find_files, images_alike, read_files


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def answer(path):
    """A reader that takes every file."""
    return "", os.path.basename(path)


def test_files_are_found_at_any_depth_in_sorted_order(tmp_path):
    touch(tmp_path / "b/c/1", tmp_path / "b/0", tmp_path / ".hidden/x", tmp_path / "a")
    assert find_files(tmp_path) == [".hidden/x", "a", "b/0", "b/c/1"]


def test_a_linked_folder_is_found_once_and_under_its_real_name(tmp_path):
    touch(tmp_path / "z/1", tmp_path.parent / "elsewhere/2")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "z/loop").symlink_to(tmp_path)
    (tmp_path / "out").symlink_to(tmp_path.parent / "elsewhere")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert find_files(tmp_path) == ["out/2", "z/1"]


def test_pipes_and_sockets_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert find_files(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_stops_the_walk(tmp_path):
    touch(tmp_path / "quince/1")
    (tmp_path / "quince").chmod(0)
    try:
        with pytest.raises(PermissionError, match="1 of 2 folders") as error:
            find_files(tmp_path)
    finally:
        (tmp_path / "quince").chmod(0o755)
    assert "quince" not in str(error.value)


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

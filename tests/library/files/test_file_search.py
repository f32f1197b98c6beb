"""Every file of a folder is found, once."""

import os

import pytest

from scanloom.files.file_search import find_files


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_files_are_found_at_any_depth_in_sorted_order(tmp_path):
    touch(tmp_path / "b/c/1", tmp_path / "b/0", tmp_path / ".hidden/x", tmp_path / "a")
    assert find_files(tmp_path) == [".hidden/x", "a", "b/0", "b/c/1"]


def test_a_linked_folder_is_found_once_and_under_its_real_name(tmp_path):
    touch(tmp_path / "z/1", tmp_path.parent / "elsewhere/2")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "z/loop").symlink_to(tmp_path)
    (tmp_path / "out").symlink_to(tmp_path.parent / "elsewhere")
    assert find_files(tmp_path) == ["out/2", "z/1"]


def test_links_that_lead_nowhere_are_counted(tmp_path):
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert find_files(tmp_path) == ["dangling", "loop"]


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

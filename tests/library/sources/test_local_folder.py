"""A folder that is already here."""

import os

import pytest

from scanloom.files.file_search import find_files
from scanloom.sources import local_folder


def _settings(path) -> local_folder.Settings:
    return local_folder.Settings(path=str(path))


def test_a_folder_is_counted_and_left_as_it_was(tmp_path):
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    (folder / "a/1.dcm").write_bytes(b"12345")
    (folder / "2.dcm").write_bytes(b"123")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    report = local_folder.fetch(_settings(folder), tmp_path / "data", seed=0)
    assert (report.root, report.files, report.bytes, report.fetched, report.reused) == (folder, 2, 8, 0, 2)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert not (tmp_path / "data").exists()
    assert local_folder.check(_settings(folder)) == []


def test_linked_folders_are_counted_as_the_catalogue_finds_them(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store/1.dcm").write_bytes(b"12345")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/linked").symlink_to(tmp_path / "store")
    (tmp_path / "images/gone.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "images/loop").symlink_to(tmp_path / "images/loop")
    report = local_folder.fetch(_settings(tmp_path / "images"), tmp_path / "data", seed=0)
    assert (report.files, report.bytes) == (3, 5)
    assert find_files(tmp_path / "images") == ["gone.dcm", "linked/1.dcm", "loop"]


def test_a_missing_folder_is_named_together_with_the_nearest_one_that_exists(tmp_path):
    [problem] = local_folder.check(_settings(tmp_path / "scans" / "2020"))
    assert "scans/2020' does not exist" in problem
    assert f"the nearest folder that does is {tmp_path}." in problem
    with pytest.raises(FileNotFoundError, match="does not exist"):
        local_folder.fetch(_settings(tmp_path / "scans" / "2020"), tmp_path, seed=0)


def test_a_relative_path_is_shown_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [problem] = local_folder.check(_settings("scans"))
    assert str(tmp_path / "scans") in problem


def test_a_file_and_an_empty_folder_are_problems(tmp_path):
    (tmp_path / "one.dcm").write_bytes(b"1")
    (tmp_path / "empty").mkdir()
    assert "is a file" in local_folder.check(_settings(tmp_path / "one.dcm"))[0]
    assert "is empty" in local_folder.check(_settings(tmp_path / "empty"))[0]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_an_unreadable_folder_is_a_problem(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o000)
    assert "cannot be read" in local_folder.check(_settings(folder))[0]

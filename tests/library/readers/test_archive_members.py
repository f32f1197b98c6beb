"""Archives among the files: which are opened, how deep, and what happens to those that cannot be."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from scanloom.readers import _archive_members
from scanloom.readers._scan import read_files

FOREIGN = "not text of ours"


def ours(path):
    """A reader of files that begin with "ours"."""
    with open(path, "rb") as file:
        start = file.read(4)
    return ("", start) if start == b"ours" else (FOREIGN, None)


def reasons(root, into):
    read = read_files(ours, root, ignore=["*.skip"], declared=frozenset(), foreign=FOREIGN, unpack_to=into)
    return {path: reason for path, (reason, _) in read.results.items()}


def zipped(**members):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return memory.getvalue()


def test_archives_in_archives_are_opened_three_deep(tmp_path):
    content = zipped(x="ours")
    for _ in range(3):
        content = zipped(n=content, y="ours")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").write_bytes(content)
    assert reasons(tmp_path / "root", tmp_path / "into") == {
        "a": "archive (opened)",
        "a/y": "",
        "a/n": "archive (opened)",
        "a/n/y": "",
        "a/n/n": "archive (opened)",
        "a/n/n/y": "",
        "a/n/n/n": "archive in archives (too deep)",
    }


def test_documents_arrays_and_packed_texts_are_files_of_their_own(tmp_path):
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    (tmp_path / "letter.docx").write_bytes(zipped(**{"[Content_Types].xml": "x", "word/document.xml": "x"}))
    (tmp_path / "notes.gz").write_bytes(gzip.compress(b"hello"))
    (tmp_path / "a.skip").write_bytes(zipped(x="ours"))
    (tmp_path / "ours.zip").write_bytes(b"ours" + zipped(x="ours"))
    (tmp_path / "slice.gz").write_bytes(gzip.compress(bytes(128) + b"DICM"))
    assert reasons(tmp_path, tmp_path.parent / "into") == {
        "a.skip": "not an image (declared)",
        "arrays.npz": FOREIGN,
        "letter.docx": FOREIGN,
        "notes.gz": FOREIGN,
        "ours.zip": "",
        "slice.gz": "archive (opened)",
        "slice.gz/slice": FOREIGN,
    }


def test_without_a_private_folder_archives_stay_closed(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(x="ours"))
    assert reasons(tmp_path, None) == {"a.zip": "archive (not opened)"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(x="ours" * 500)[:-60], "damaged archive"),
        (zipped(**{"../x": "ours"}), "unsafe archive"),
        (zipped(**{"/x": "ours"}), "unsafe archive"),
    ],
)
def test_archives_that_cannot_be_trusted_are_counted_and_leave_nothing(tmp_path, content, reason):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.zip").write_bytes(content)
    assert reasons(tmp_path / "root", tmp_path / "into") == {"a.zip": reason}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "root/a.zip"]


def test_an_archive_larger_than_the_disk_is_not_begun(tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.zip").write_bytes(zipped(x="ours"))
    monkeypatch.setattr(_archive_members, "SPARE_BYTES", 1 << 60)
    assert reasons(tmp_path / "root", tmp_path / "into") == {"a.zip": "too large archive"}


def test_a_changed_archive_is_unpacked_again(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a.zip").write_bytes(zipped(x="ours"))
    assert reasons(tmp_path / "root", tmp_path / "into")["a.zip/x"] == ""
    (tmp_path / "root/a.zip").write_bytes(zipped(x="other", z="ours"))
    found = reasons(tmp_path / "root", tmp_path / "into")
    assert (found["a.zip/x"], found["a.zip/z"]) == (FOREIGN, "")
    assert len(list((tmp_path / "into").iterdir())) == 1

"""Fingerprints of code: what must and what must not change them."""

import shutil

import pytest

from scanloom import code_dependencies


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small library of three files, entered through `step.py`."""
    library = tmp_path / "scanloom"
    library.mkdir()
    (library / "__init__.py").write_text("")
    (library / "a.py").write_text('"""Docstring."""\nfrom scanloom import b\n\n\ndef f(x):\n    return b.g(x) + 1\n')
    (library / "b.py").write_text("def g(x):\n    return 2 * x\n")
    (library / "c.py").write_text("UNUSED = 1\n")
    (tmp_path / "step.py").write_text("def run():\n    from scanloom.a import f\n    return f(1)\n")
    monkeypatch.setattr(code_dependencies, "PACKAGE", library)
    return tmp_path


def fingerprint(package):
    for cached in ("_tree", "import_closure", "meaning_of", "code_fingerprint"):
        getattr(code_dependencies, cached).cache_clear()
    return code_dependencies.code_fingerprint(package / "step.py")


def test_closure_holds_imported_files_and_no_others(package):
    fingerprint(package)
    names = [path.name for path in code_dependencies.import_closure(package / "step.py")]
    assert sorted(names) == ["__init__.py", "a.py", "b.py", "step.py"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("scanloom/b.py", "return 2 * x", "return 2 * x  # twice"),
        ("scanloom/b.py", "return 2 * x", "return (2\n            * x)"),
        ("scanloom/a.py", '"""Docstring."""', '"""Another docstring."""'),
        ("scanloom/c.py", "UNUSED = 1", "UNUSED = 2"),
    ],
    ids=["comment", "formatting", "docstring", "unused file"],
)
def test_edits_without_meaning_keep_the_fingerprint(package, file, old, new):
    before = fingerprint(package)
    path = package / file
    path.write_text(path.read_text().replace(old, new))
    assert fingerprint(package) == before


def test_edit_in_a_file_imported_by_an_imported_file_changes_the_fingerprint(package):
    before = fingerprint(package)
    path = package / "scanloom/b.py"
    path.write_text(path.read_text().replace("2 * x", "3 * x"))
    assert fingerprint(package) != before


def test_fingerprint_does_not_depend_on_where_the_checkout_lies(package, tmp_path, monkeypatch):
    before = fingerprint(package)
    copy = tmp_path / "elsewhere"
    shutil.copytree(package / "scanloom", copy / "scanloom")
    shutil.copy(package / "step.py", copy / "step.py")
    monkeypatch.setattr(code_dependencies, "PACKAGE", copy / "scanloom")
    assert fingerprint(copy) == before

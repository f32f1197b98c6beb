"""What every reader keeps to: every file counted, types of columns, archives opened, nothing written, no names told."""

import inspect
import zipfile

import pandas as pd
import pytest

from scanloom import plugins
from scanloom.readers._scan import IMAGE_COLUMNS, KINDS, START

READERS = plugins.names("readers")
# Settings of readers that have no defaults for all of them.
NEEDED = {"binary_records": {"files": {"train": "*.bin"}, "shape": [2, 2]}}


@pytest.fixture(params=READERS)
def reader(request):
    """(name, module, settings)."""
    name = request.param
    return name, plugins.load("readers", name), plugins.settings("readers", name, NEEDED.get(name, {}))


@pytest.fixture
def folder(tmp_path):
    """Files of no format at all."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "quince.txt").write_text("hello")
    (root / "empty").write_bytes(b"")
    (root / "zeros").write_bytes(bytes(4096))
    with zipfile.ZipFile(root / "quince.zip", "w") as archive:
        archive.writestr("inside.txt", "hello")
    (root / "masks").mkdir()
    (root / "masks/m.txt").write_text("hello")
    return root


def test_it_has_the_functions_of_a_reader(reader):
    _, module, settings = reader
    expected = ["root", "settings", "modality", "declared", "workers", "unpack_to"]
    assert list(inspect.signature(module.scan).parameters) == expected
    assert list(inspect.signature(module.group_series).parameters) == ["scan", "settings"]
    assert list(inspect.signature(module.read_series).parameters) == ["root", "rows", "settings"]
    assert settings.model_config["extra"] == "forbid"
    assert settings.model_config["frozen"]
    assert all(field.description for field in type(settings).model_fields.values())


def test_every_file_is_counted_once_with_a_reason(reader, folder, tmp_path):
    name, module, _ = reader
    settings = plugins.settings("readers", name, NEEDED.get(name, {}) | {"ignore": ["masks/*"]})
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    scan = module.scan(folder, settings, declared=frozenset({"empty"}), unpack_to=tmp_path / "unpacked")
    reasons = scan.files.set_index("path").reason.to_dict()
    assert sorted(reasons) == ["empty", "masks/m.txt", "quince.txt", "quince.zip", "quince.zip/inside.txt", "zeros"]
    assert not scan.files.ok.any()
    assert all(reasons.values())
    assert reasons["empty"] == reasons["masks/m.txt"] == "not an image (declared)"
    assert reasons["quince.zip"] == "archive (opened)"
    assert set(scan.places) == {"quince.zip/inside.txt"}
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_its_reasons_stand_in_its_docstring(reader, folder):
    _, module, settings = reader
    plain = module.__doc__.replace("\n", " ")
    for reason in set(module.scan(folder, settings).files.reason) - {"archive (not opened)"}:
        assert f'"{reason}"' in plain


def test_an_empty_result_has_all_columns_with_their_types(reader, folder):
    _, module, settings = reader
    scan = module.scan(folder, settings)
    grouped = module.group_series(scan, settings)
    assert list(scan.images) == list(IMAGE_COLUMNS)
    for column, unknown in IMAGE_COLUMNS.items():
        assert str(scan.images[column].dtype) == KINDS[type(unknown)], column
    assert len(grouped.series) == len(grouped.images) == 0
    assert {"series_key", "reason", "spacing_z_mm", "tilt_deg"} <= set(grouped.series)
    assert {"series_key", "slice_index", "position_mm"} <= set(grouped.images)


def test_a_series_that_cannot_be_read_is_an_error_without_its_name(reader, folder):
    _, module, settings = reader
    rows = pd.DataFrame(
        {"path": ["quince/gone"], "frame": [0], "sop_uid": ["quince/a/0"], "slice_index": [0], "position_mm": [0.0]}
    ).assign(series_id="0123", place="", **{f"orientation_{i}": 0.0 for i in range(6)})
    rows = rows.assign(**{f"position_{i}": 0.0 for i in range(3)})
    with pytest.raises(RuntimeError, match="series 0123") as error:
        module.read_series(folder, rows, settings)
    assert "quince" not in str(error.value)
    assert error.value.__suppress_context__


def test_no_reader_takes_unknown_files_for_its_own(reader, folder):
    recognises = getattr(reader[1], "recognises", None)
    if recognises is None:
        pytest.skip("its files have nothing to be told by")
    assert not any(recognises(path.read_bytes()[:START]) for path in folder.rglob("*") if path.is_file())

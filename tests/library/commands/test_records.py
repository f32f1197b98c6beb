"""`scanloom records`: what it prints, what it finds, and the picture it writes."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from scanloom.__main__ import main
from scanloom.identity import item_ids
from scanloom.shards import tfrecord_wire as wire
from scanloom.shards.shard_writer import write_chunk
from scanloom.splitting.splits import SPLITS

ITEM = "s000-0001"


def write(folder, number=0, dtype="uint16", channels=("image",), unit="HU", shape=(6, 8), compression="none"):
    """Two series of two slices, or of one volume, in training; pixels 0, 1, 2, ... of the item's number."""
    n = 2 if len(shape) == 3 else 4
    series = np.repeat([f"s{number}00", f"s{number}01"], n // 2)
    images = (np.arange(n * np.prod(shape) * len(channels)) % 4000).astype(dtype).reshape(n, *shape, len(channels))
    chunk = {
        "images": images,
        "series_id": series,
        "slice_index": np.tile(np.arange(n // 2), 2),
        "spacing_mm": np.ones((n, len(shape)), np.float32),
        "slope": np.ones((n, len(channels))),
        "intercept": np.full((n, len(channels)), -1024.0 if unit == "HU" else 0.0),
        "unit": np.array(unit),
        "channels": np.array(channels),
        "steps": np.array(json.dumps([{"name": "resize", "settings": {"size_px": [6, 8]}}])),
    }
    table = pd.DataFrame({"series_id": series, "slice_index": chunk["slice_index"]})
    table = table.assign(item_id=item_ids(table.series_id, table.slice_index), patient_id=series, split="train")
    table["bleed"] = [0.0, np.nan] * (n // 2)
    shards = {split: folder / f"{split}-{number:03d}.tfrecord" for split in SPLITS}
    write_chunk(chunk, table, ["bleed"], "heads", number, shards, folder / f"{number:03d}.json", compression)
    return images


def run(capsys, *arguments):
    code = main(["records", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_it_says_what_the_shards_hold(tmp_path, capsys):
    write(tmp_path)
    write(tmp_path, 1)
    code, out, _ = run(capsys, tmp_path, "--print", 1)
    assert code == 0
    assert "2 chunks, 8 records" in out
    assert "uint16 [6, 8, 1] in HU" in out
    assert "image (-1024 to 64511)" in out
    assert 'resize {"size_px": [6, 8]}' in out
    assert "8 records of 4 series, 4 patients; bleed {0: 4, missing: 4}" in out
    assert "s000-0000" in out
    assert ITEM not in out


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_whole_shards_pass_the_check(tmp_path, capsys, compression):
    write(tmp_path, compression=compression)
    code, out, _ = run(capsys, tmp_path, "--check")
    assert code == 0
    assert "nothing wrong" in out


def test_the_check_names_every_damaged_record_and_every_bad_file(tmp_path, capsys):
    write(tmp_path)
    write(tmp_path, 1)
    path = tmp_path / "train-000.tfrecord"
    content = bytearray(path.read_bytes())
    for record in (1, 3):
        content[record * len(content) // 4 + 60] ^= 1
    path.write_bytes(content)
    (tmp_path / "test-001.tfrecord").write_bytes(b"something")
    code, out, _ = run(capsys, tmp_path, "--check")
    assert code == 1
    assert "train-000.tfrecord: record 1 is damaged" in out
    assert "train-000.tfrecord: record 3 is damaged" in out
    assert "record 2 is damaged" not in out
    assert "test-001.tfrecord: record 0 is cut off" in out
    assert "3 problems found" in out


def test_the_check_compares_features_with_the_manifest(tmp_path, capsys):
    write(tmp_path)
    manifest = json.loads((tmp_path / "000.json").read_text())
    manifest["features"]["label"]["values"] = 2
    (tmp_path / "000.json").write_text(json.dumps(manifest))
    code, out, _ = run(capsys, tmp_path, "--check")
    assert code == 1
    assert "record 0: label not as in its manifest" in out


def test_a_window_is_applied_to_hounsfield_units(tmp_path, capsys):
    images = write(tmp_path)
    code, _, _ = run(capsys, tmp_path, "--export", ITEM, tmp_path / "a.png", "--window", -1000, 40)
    assert code == 0
    hu = images[1, ..., 0].astype(float) - 1024
    expected = np.rint(np.clip((hu + 1020) / 40, 0, 1) * 255)  # PS3.3 C.11.2.1.3, linear exact
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), expected)


def test_channels_stand_side_by_side_and_slices_in_a_grid(tmp_path, capsys):
    images = write(tmp_path, dtype="uint8", channels=("brain", "bone"), unit="0-255", shape=(3, 6, 8))
    assert run(capsys, tmp_path, "--export", "s000-0000", tmp_path / "a.png")[0] == 0
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    assert picture.shape == (2 * 6, 2 * 16)
    np.testing.assert_array_equal(picture[6:, 8:16], images[0, 2, :, :, 1])
    assert (picture[6:, 16:] == 0).all()


def test_colours_stay_colours(tmp_path, capsys):
    images = write(tmp_path, dtype="uint8", channels=("red", "green", "blue"), unit="0-255")
    assert run(capsys, tmp_path, "--export", ITEM, tmp_path / "a.png")[0] == 0
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), images[1])


def test_errors_are_one_line_that_says_what_to_do(tmp_path, capsys):
    write(tmp_path)
    for arguments, message in [
        ([tmp_path / "none"], "no folder or file"),
        ([tmp_path, "--export", ITEM, tmp_path / "a.png"], "16-bit HU need a window"),
        ([tmp_path, "--export", "s000-0000x", tmp_path / "a.png"], "Did you mean 's000-0000'"),
        ([tmp_path, "--export", ITEM, tmp_path / "a.png", "--window", "brian"], "Did you mean 'brain'"),
        ([tmp_path, "--export", ITEM, tmp_path / "a.tif", "--window", "brain"], "ending in .png"),
    ]:
        code, _, err = run(capsys, *arguments)
        assert code == 1
        assert message in err
        assert len(err.splitlines()) == 1


def test_any_tfrecord_file_is_listed_checked_and_exported(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    features = {"image/encoded": encoded.getvalue(), "image/class/label": np.array([2])}
    record = wire.encode_record(wire.encode_example(features))
    (tmp_path / "other").write_bytes(record * 2)
    code, out, _ = run(capsys, tmp_path / "other", "--check", "--print", 1, "--export", 1, tmp_path / "a.png")
    assert code == 0
    assert "2 records" in out
    assert "image/class/label" in out
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    (tmp_path / "other").write_bytes(record + record[:-1] + b"x")
    code, out, _ = run(capsys, tmp_path / "other", "--check")
    assert code == 1
    assert "record 1 is damaged" in out

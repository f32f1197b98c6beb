"""Shards as written by shard_writer, read back by NumPy and by TensorFlow."""

import gzip
import json
import time

import numpy as np
import pandas as pd
import pytest
from chunk_shards import LABELS, chunk, write
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from scanloom.images.chunk_images import read_parts, write_parts
from scanloom.images.preprocessing import chunk_parts
from scanloom.readers._volume import Volume
from scanloom.shards import records
from scanloom.shards.records import BadShard, open_shards
from scanloom.splitting.splits import SPLITS, PatientInTwoSplits

COMPRESSIONS = ["none", "gzip"]


def test_everything_comes_back(tmp_path):
    preprocessed, table = chunk()
    shards = open_shards([write(tmp_path, preprocessed, table)], SPLITS)
    assert len(shards) == len(table)
    assert shards.image_spec["shape"] == [5, 4, 2]
    assert shards.image_spec["slope"] == [1.0, 2.0]
    found = shards.table.sort_values("item_id", ignore_index=True)
    columns = ["item_id", "series_id", "patient_id", "split", "slice_index", *LABELS]
    pd.testing.assert_frame_equal(found[columns], table[columns], check_dtype=False)
    assert (found["dataset"] == "phantom").all()
    np.testing.assert_array_equal(np.stack(found["spacing_mm"]), preprocessed["spacing_mm"])
    order = found.index[found["item_id"].argsort()]
    images = shards.images(shards.table["item_id"].argsort()[order])
    np.testing.assert_array_equal(images, preprocessed["images"])


def test_images_come_in_the_order_asked_for(tmp_path):
    preprocessed, table = chunk(dtype="uint16")
    manifests = [write(tmp_path, preprocessed, table), write(tmp_path, *chunk(dtype="uint16", seed=1, prefix="t"), 1)]
    shards = open_shards(manifests, ["train"])
    asked = np.random.default_rng(0).integers(0, len(shards), 50)
    images = shards.images(asked)
    assert images.dtype == np.uint16
    assert images.shape == (50, 5, 4, 2)
    both = pd.concat([table, chunk(seed=1, prefix="t")[1]], ignore_index=True)
    stored = np.concatenate([preprocessed["images"], chunk(dtype="uint16", seed=1, prefix="t")[0]["images"]])
    where = pd.Series(both.index, index=both["item_id"])[shards.table["item_id"].iloc[asked]]
    np.testing.assert_array_equal(images, stored[where])
    assert set(shards.table["split"]) == {"train"}


@settings(max_examples=15, deadline=None)
@given(
    shape=st.lists(st.integers(1, 6), min_size=2, max_size=3),
    channels=st.integers(1, 3),
    dtype=st.sampled_from(["uint8", "uint16"]),
    slices=st.integers(1, 300),
    seed=st.integers(0, 99),
)
def test_round_trip_for_any_rank_type_and_stack(tmp_path_factory, shape, channels, dtype, slices, seed):
    """300 slices need two-byte varints next to one-byte ones: records of different layout in one shard."""
    slices = 1 if len(shape) == 3 else slices
    preprocessed, table = chunk(3, slices, (*shape, channels), dtype, seed)
    shards = open_shards([write(tmp_path_factory.mktemp("shards"), preprocessed, table)], SPLITS)
    order = np.argsort(shards.table["item_id"].to_numpy())
    np.testing.assert_array_equal(shards.images(order), preprocessed["images"])
    found = shards.table.iloc[order]
    assert found["slice_index"].tolist() == table["slice_index"].tolist()
    np.testing.assert_array_equal(found[LABELS], table[LABELS])


@settings(max_examples=20, deadline=None)
@given(hu=arrays(np.int32, (3, 4, 5), elements=st.integers(-1024, 64511)), compression=st.sampled_from(COMPRESSIONS))
def test_hounsfield_units_come_back_bit_exactly(tmp_path_factory, hu, compression):
    """The whole way: steps, the chunk's files, shards, reader; all that 16 bits hold above -1024 HU."""
    folder = tmp_path_factory.mktemp("hu")
    volume = Volume(hu.astype(np.float32), "HU", (5.0, 0.5, 0.5))
    rows = pd.DataFrame({"series_id": ["s" + "0" * 15] * 3})
    write_parts(
        folder / "c.npy", folder / "c.npz", chunk_parts(lambda _: volume, rows, [], 2, "uint16"), [], 2, "uint16"
    )
    _, table = chunk(1, 3)
    shards = open_shards([write(folder, read_parts(folder / "c.npy", folder / "c.npz"), table, 0, LABELS, compression)])
    back = shards.images([0, 1, 2])[..., 0] * shards.table["slope"][0] + shards.table["intercept"][0]
    np.testing.assert_array_equal(back, hu)


@pytest.mark.parametrize("rank", [2, 3])
def test_packed_shards_hold_the_same_records(tmp_path, rank):
    preprocessed, table = chunk(slices=1, shape=(6, 5, 4, 2)[-rank - 1 :], dtype="uint16")
    plain = write(tmp_path / "plain", preprocessed, table)
    packed = write(tmp_path / "packed", preprocessed, table, compression="gzip")
    for split in SPLITS:
        name = f"{split}-000.tfrecord"
        assert gzip.decompress((tmp_path / "packed" / name).read_bytes()) == (tmp_path / "plain" / name).read_bytes()
    ours, theirs = open_shards([packed]), open_shards([plain])
    pd.testing.assert_frame_equal(ours.table, theirs.table)
    everything = np.arange(len(ours))
    np.testing.assert_array_equal(ours.images(everything), theirs.images(everything))


def test_packed_shards_have_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    first = write(tmp_path / "a", *chunk(), compression="gzip")
    monkeypatch.setattr(time, "time", lambda: 2e9)
    second = write(tmp_path / "b", *chunk(), compression="gzip")
    for path in first.parent.iterdir():
        assert path.read_bytes() == (second.parent / path.name).read_bytes()


def test_a_damaged_packed_shard_is_refused(tmp_path):
    manifest = write(tmp_path, *chunk(), compression="gzip")
    path = tmp_path / "train-000.tfrecord"
    path.write_bytes(path.read_bytes()[:-9] + bytes(9))
    with pytest.raises(BadShard, match="SHA-256 differs"):
        open_shards([manifest])


def test_the_manifest_describes_every_record(tmp_path):
    """What it says of the features is what TensorFlow finds in the records."""
    tf = pytest.importorskip("tensorflow")
    manifest = json.loads(write(tmp_path, *chunk(dtype="uint16")).read_text())
    kinds = {"bytes": "bytes_list", "float32": "float_list", "int64": "int64_list"}
    expected = {name: (kinds[part["type"]], part["values"]) for name, part in manifest["features"].items()}
    for record in tf.data.TFRecordDataset(str(tmp_path / "train-000.tfrecord")):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        found = {name: feature.WhichOneof("kind") for name, feature in features.items()}
        assert {name: (kind, len(getattr(features[name], kind).value)) for name, kind in found.items()} == expected
    assert manifest["image"]["range"] == [[0.0, 65535.0], [0.0, 2 * 65535.0]]
    assert manifest["compression"] == "none"


def test_shards_of_another_format_are_refused_by_name(tmp_path):
    manifest = write(tmp_path, *chunk())
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": "scanloom shards 1"}))
    with pytest.raises(BadShard, match="format 'scanloom shards 1', expected 'scanloom shards 2"):
        open_shards([manifest])


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_tensorflow_reads_the_same_batches(tmp_path, compression):
    chunks = [chunk(dtype="uint16"), chunk(dtype="uint16", seed=1, prefix="t")]
    manifests = [write(tmp_path, *one, number, compression=compression) for number, one in enumerate(chunks)]
    shards = open_shards(manifests, ["train", "test"])
    from scanloom.shards.tfdata import tfdata  # imports TensorFlow

    batches = list(tfdata(manifests, ["train", "test"], batch=7))
    assert batches[0]["image"].dtype == "uint16"
    names = [name.decode() for batch in batches for name in batch["item_id"].numpy()]
    assert names == shards.table["item_id"].tolist()
    np.testing.assert_array_equal(
        np.concatenate([batch["image"].numpy() for batch in batches]), shards.images(np.arange(len(shards)))
    )
    np.testing.assert_array_equal(np.concatenate([b["label"].numpy() for b in batches]), shards.table[LABELS])


def test_shards_that_tensorflow_wrote_are_read(tmp_path):
    """TensorFlow orders the features of an Example as it likes: no two records need be laid out alike."""
    tf = pytest.importorskip("tensorflow")
    preprocessed, table = chunk()
    manifest = write(tmp_path, preprocessed, table)
    path = tmp_path / "train-000.tfrecord"
    messages = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
    with tf.io.TFRecordWriter(str(path)) as writer:
        for message in messages:
            writer.write(tf.train.Example.FromString(message).SerializeToString())
    said = json.loads(manifest.read_text())
    content = path.read_bytes()
    said["splits"]["train"] |= {"bytes": len(content), "sha256": records.hashlib.sha256(content).hexdigest()}
    manifest.write_text(json.dumps(said))
    shards = open_shards([manifest], ["train"])
    expected = preprocessed["images"][(table["split"] == "train").to_numpy()]
    np.testing.assert_array_equal(shards.images(np.argsort(shards.table["item_id"].to_numpy())), expected)


def test_the_same_input_gives_the_same_bytes_in_any_order(tmp_path):
    preprocessed, table = chunk()
    first = write(tmp_path / "a", preprocessed, table)
    second = write(tmp_path / "b", preprocessed, table.sample(frac=1, random_state=0))
    for path in first.parent.iterdir():
        assert path.read_bytes() == (second.parent / path.name).read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_manifest_counts_and_checks(tmp_path):
    preprocessed, table = chunk()
    manifest = json.loads(write(tmp_path, preprocessed, table).read_text())
    assert manifest["labels"] == LABELS
    assert sum(part["records"] for part in manifest["splits"].values()) == len(table)
    for split, part in manifest["splits"].items():
        assert part["file"] == f"{split}-000.tfrecord"
        assert part["bytes"] == (tmp_path / part["file"]).stat().st_size


def test_slices_that_steps_dropped_are_counted(tmp_path):
    preprocessed, table = chunk()
    kept = preprocessed["slice_index"] != 0
    fewer = {k: v[kept] if v.ndim and len(v) == len(kept) else v for k, v in preprocessed.items()}
    manifest = write(tmp_path, fewer, table)
    assert json.loads(manifest.read_text())["dropped_by_steps"] == 6
    assert len(open_shards([manifest])) == 18


def test_an_image_without_a_row_in_the_table_is_an_error(tmp_path):
    preprocessed, table = chunk()
    with pytest.raises(ValueError, match="1 images such as s000000000000000-0000 are not in the image table"):
        write(tmp_path, preprocessed, table.iloc[1:])


def test_a_damaged_shard_is_named_with_its_record(tmp_path):
    manifest = write(tmp_path, *chunk())
    path = tmp_path / "test-000.tfrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 8 * 3 + 20] ^= 4
    path.write_bytes(content)
    with pytest.raises(BadShard, match=r"test-000.tfrecord: record 3 is damaged.*delete it and run again"):
        open_shards([manifest])


def test_a_cut_off_shard_is_an_error(tmp_path):
    manifest = write(tmp_path, *chunk())
    path = tmp_path / "test-000.tfrecord"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BadShard, match="its manifest says"):
        open_shards([manifest])


def test_whole_records_of_another_run_are_an_error(tmp_path):
    manifest = write(tmp_path, *chunk())
    other = write(tmp_path / "other", *chunk(seed=5))
    (tmp_path / "test-000.tfrecord").write_bytes((other.parent / "test-000.tfrecord").read_bytes())
    with pytest.raises(BadShard, match="SHA-256 differs"):
        open_shards([manifest])


def test_a_missing_shard_or_manifest_is_an_error(tmp_path):
    manifest = write(tmp_path, *chunk())
    (tmp_path / "test-000.tfrecord").unlink()
    with pytest.raises(BadShard, match="not found"):
        open_shards([manifest])
    with pytest.raises(BadShard, match="make the shards first"):
        open_shards([tmp_path / "001.json"])


def test_a_patient_in_two_splits_is_refused_by_writer_and_reader(tmp_path):
    preprocessed, table = chunk()
    torn = table.assign(patient_id=table["patient_id"].where(table.index >= 8, "pX"))
    with pytest.raises(PatientInTwoSplits, match="patient pX is in train and validation"):
        write(tmp_path, preprocessed, torn)
    first = write(tmp_path, preprocessed, table)
    moved, other = chunk(prefix="t")
    other["patient_id"] = table.loc[table["split"] == "test", "patient_id"].iloc[0]
    second = write(tmp_path, moved, other.assign(split="train"), 1)
    with pytest.raises(PatientInTwoSplits, match="in train and test"):
        open_shards([first, second])


def test_an_empty_chunk_is_skipped(tmp_path):
    preprocessed, table = chunk()
    empty = {k: v[:0] if v.ndim and k != "channels" else v for k, v in preprocessed.items()}
    manifests = [write(tmp_path, empty, table.iloc[:0], 1), write(tmp_path, preprocessed, table)]
    assert len(open_shards(manifests)) == len(table)
    with pytest.raises(BadShard, match="no images of split"):
        open_shards(manifests[:1])


def test_images_of_two_sizes_do_not_mix(tmp_path):
    first = write(tmp_path, *chunk())
    second = write(tmp_path, *chunk(shape=(6, 4, 2), prefix="t"), 1)
    with pytest.raises(BadShard, match=r"image shape \[6, 4, 2\]"):
        open_shards([first, second])


def test_datasets_with_other_labels_share_a_table(tmp_path):
    first = write(tmp_path, *chunk())
    second = write(tmp_path, *chunk(prefix="t"), 1, labels=["bleed"])
    table = open_shards([first, second]).table
    assert table.loc[table["series_id"].str.startswith("t"), "level"].isna().all()
    assert table["bleed"].notna().all()


def test_a_volume_takes_the_largest_label_of_its_slices(tmp_path):
    preprocessed, _ = chunk(3, 1, (2, 4, 4, 1))
    _, table = chunk(3, 4)
    shards = open_shards([write(tmp_path, preprocessed, table)])
    expected = table.groupby("series_id")["bleed"].max()
    np.testing.assert_array_equal(shards.table.set_index("series_id")["bleed"].sort_index(), expected)
    assert shards.images([0]).shape == (1, 2, 4, 4, 1)

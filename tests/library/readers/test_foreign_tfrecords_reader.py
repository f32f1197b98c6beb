"""TFRecords as TensorFlow's own writer makes them (TF-Slim's features), read without TensorFlow."""

import gzip
import io

import numpy as np
import pytest
from PIL import Image

from scanloom.readers import foreign_tfrecords
from scanloom.readers.foreign_tfrecords import Settings
from scanloom.shards import tfrecord_wire as wire

DEFAULTS = Settings()


def picture(seed: int, kind: str = "PNG", size=(6, 5)) -> tuple[np.ndarray, bytes]:
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return pixels, file.getvalue()


def example(seed: int, label: int = 1, **changed) -> bytes:
    features = {
        "image/encoded": picture(seed)[1],
        "image/class/label": np.array([label]),
        "image/class/text": b"chest",
        "image/filename": f"{seed}.png",
    }
    return wire.encode_example({k: v for k, v in (features | changed).items() if v is not None})


def write(path, *payloads: bytes) -> None:
    path.write_bytes(b"".join(map(wire.encode_record, payloads)))


def read(root, scan, number: int, settings=DEFAULTS):
    images = foreign_tfrecords.group_series(scan, settings).images
    return foreign_tfrecords.read_series(root, images[images.frame == number], settings)


def test_records_that_tensorflow_wrote_come_with_pixels_labels_and_split(tmp_path):
    tf = pytest.importorskip("tensorflow")
    feature = tf.train.Feature
    for name, compression in (("train-00000-of-00001", None), ("validation-00000-of-00001", "GZIP")):
        with tf.io.TFRecordWriter(str(tmp_path / name), compression) as writer:
            for seed in (0, 1):
                features = {
                    "image/encoded": feature(bytes_list=tf.train.BytesList(value=[picture(seed)[1]])),
                    "image/class/label": feature(int64_list=tf.train.Int64List(value=[seed + 3])),
                    "image/class/text": feature(bytes_list=tf.train.BytesList(value=[b"chest"])),
                    "image/filename": feature(bytes_list=tf.train.BytesList(value=[b"a.png"])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    scan = foreign_tfrecords.scan(tmp_path, Settings())
    assert scan.files.ok.all()
    assert scan.labels.to_dict("list") == {
        "index": ["0", "1"] * 2,
        "path": ["train-00000-of-00001"] * 2 + ["validation-00000-of-00001"] * 2,
        "split": ["train"] * 2 + ["validation"] * 2,
        "label": ["3", "4"] * 2,
        "text": ["chest"] * 4,
        "filename": ["a.png"] * 4,
    }
    grouped = foreign_tfrecords.group_series(scan, Settings())
    assert (grouped.series.reason == "").all()
    for _, row in grouped.images.iterrows():
        rows = grouped.images[grouped.images.series_key == row.series_key]
        volume = foreign_tfrecords.read_series(tmp_path, rows, Settings())
        np.testing.assert_array_equal(volume.values[0], picture(row.frame)[0])
        assert volume.unit == "0-255"


def test_a_jpeg_is_what_pillow_decodes(tmp_path):
    _, encoded = picture(0, "JPEG", (16, 16))
    write(tmp_path / "a.tfrecord", example(0, **{"image/encoded": encoded}))
    volume = read(tmp_path, foreign_tfrecords.scan(tmp_path, Settings()), 0)
    np.testing.assert_array_equal(volume.values[0], np.asarray(Image.open(io.BytesIO(encoded))))


def test_a_damaged_record_is_left_out_and_counted_and_the_others_are_used(tmp_path):
    broken = picture(1)[1][:-20]
    write(tmp_path / "a", example(0), example(1), example(2, **{"image/encoded": broken}), example(3), b"\xff" * 30)
    content = bytearray((tmp_path / "a").read_bytes())
    content[len(wire.encode_record(example(0))) + 40] ^= 1
    (tmp_path / "a").write_bytes(content)
    scan = foreign_tfrecords.scan(tmp_path, Settings())
    assert scan.files.ok.all()
    series = foreign_tfrecords.group_series(scan, Settings()).series.sort_values("series_key")
    assert series.reason.tolist() == ["", "damaged record", "undecodable", "", "damaged record"]
    assert set(series.detail) == {"3 of 5 records left out: 2 damaged record, 1 undecodable"}
    np.testing.assert_array_equal(read(tmp_path, scan, 3).values[0], picture(3)[0])


def test_every_file_has_a_verdict(tmp_path):
    write(tmp_path / "good", example(0))
    whole = (tmp_path / "good").read_bytes()
    (tmp_path / "cut").write_bytes(whole[:-5])
    second_length = bytearray(whole * 2)
    second_length[len(whole)] ^= 1
    (tmp_path / "length").write_bytes(second_length)
    (tmp_path / "text").write_text("a table of labels")
    write(tmp_path / "events", wire.encode_example({"step": np.array([1])}))
    scan = foreign_tfrecords.scan(tmp_path, Settings())
    assert dict(zip(scan.files.path, scan.files.reason, strict=True)) == {
        "cut": "truncated",
        "events": "no encoded images",
        "good": "",
        "length": "truncated",
        "text": "not a TFRecord file",
    }


def test_a_cut_or_damaged_gzip_file_is_truncated(tmp_path):
    packed = gzip.compress(b"".join(wire.encode_record(example(seed)) for seed in range(20)), mtime=0)
    (tmp_path / "cut").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "changed").write_bytes(packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:])
    (tmp_path / "other").write_bytes(gzip.compress(b"a table of labels"))
    scan = foreign_tfrecords.scan(tmp_path, Settings())
    assert scan.files.reason.tolist() == ["truncated", "truncated", "not a TFRecord file"]


def test_features_have_the_names_of_the_settings(tmp_path):
    settings = Settings(image="picture", labels={"finding": "findings", "patient": "who"}, splits={})
    features = {"picture": picture(0)[1], "findings": np.array([0.0, 1.0], np.float32)}
    write(tmp_path / "train", wire.encode_example(features))
    scan = foreign_tfrecords.scan(tmp_path, settings)
    assert scan.labels.to_dict("list") == {
        "index": ["0"],
        "path": ["train"],
        "split": [""],
        "finding": ["0|1"],
        "patient": [""],
    }


def test_colours_are_kept_or_turned_into_luma(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    write(tmp_path / "a", example(0, **{"image/encoded": file.getvalue()}))
    colour = Settings(channels="rgb")
    volume = read(tmp_path, foreign_tfrecords.scan(tmp_path, colour), 0, colour)
    np.testing.assert_array_equal(volume.values[0], pixels)
    grey = read(tmp_path, foreign_tfrecords.scan(tmp_path, Settings()), 0).values[0]
    assert np.abs(grey - pixels @ [0.299, 0.587, 0.114]).max() <= 1  # ITU-R BT.601

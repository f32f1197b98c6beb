"""The bytes are TensorFlow's: its writer and reader are the reference."""

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom.shards import tfrecord_wire as wire

tf = pytest.importorskip("tensorflow")

features = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(lambda x: np.array(x, np.float32)),
        st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(lambda x: np.array(x, np.int64)),
    ),
    max_size=5,
)


def as_bytes(path) -> np.ndarray:
    return np.fromfile(path, np.uint8)


def of_tensorflow(message: bytes) -> dict:
    example = tf.train.Example.FromString(message)
    found = {}
    for name, feature in example.features.feature.items():
        kind = feature.WhichOneof("kind")
        found[name] = (kind, list(getattr(feature, kind).value))
    return found


def test_crc32c_has_the_published_check_value():
    # RFC 3720, B.4: the CRC-32C of "123456789" is 0xe3069283 (in the customary check form).
    assert google_crc32c.value(b"123456789") == 0xE3069283


@settings(max_examples=60, deadline=None)
@given(features)
def test_tensorflow_reads_every_example_we_encode(values):
    seen = of_tensorflow(wire.encode_example(values))
    assert set(seen) == set(values)
    for name, value in values.items():
        kind, found = seen[name]
        if isinstance(value, bytes):
            assert (kind, found) == ("bytes_list", [value])
        else:
            assert kind == ("float_list" if value.dtype == np.float32 else "int64_list")
            assert found == value.tolist()


@settings(max_examples=60, deadline=None)
@given(features)
def test_we_read_every_example_tensorflow_encodes(values):
    example = tf.train.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif value.dtype == np.float32:
            feature.float_list.value.extend(value.tolist())
        else:
            feature.int64_list.value.extend(value.tolist())
    found = wire.decode_example(example.SerializeToString())
    for name, value in values.items():
        if isinstance(value, bytes):
            assert found[name] == [value]
        elif len(value):
            np.testing.assert_array_equal(found[name], value)


def test_tensorflow_reads_our_file_and_we_read_tensorflows(tmp_path):
    payloads = [b"", b"a", bytes(range(256)) * 5]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.write_bytes(b"".join(map(wire.encode_record, payloads)))
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        for payload in payloads:
            writer.write(payload)
    assert ours.read_bytes() == theirs.read_bytes()
    assert [r.numpy() for r in tf.data.TFRecordDataset(str(ours))] == payloads
    data = as_bytes(theirs)
    starts, lengths = wire.index_records(data, "theirs")
    assert [bytes(data[s : s + n]) for s, n in zip(starts, lengths, strict=True)] == payloads


@pytest.mark.parametrize("sizes", [[7] * 5, [7, 7, 9, 7], []])
def test_index_finds_records_of_one_length_and_of_several(sizes):
    data = np.frombuffer(b"".join(wire.encode_record(b"x" * size) for size in sizes), np.uint8)
    starts, lengths = wire.index_records(data, "shard")
    assert lengths.tolist() == sizes
    assert all(bytes(data[s : s + n]) == b"x" * n for s, n in zip(starts, lengths, strict=True))


def test_a_damaged_byte_is_found_and_its_record_named():
    data = np.frombuffer(b"".join(wire.encode_record(b"abcdefgh") for _ in range(4)), np.uint8).copy()
    wire.check_records(data, "shard")
    data[2 * 24 + 15] ^= 1
    with pytest.raises(wire.DamagedRecord, match="shard: record 2 is damaged"):
        wire.check_records(data, "shard")


def test_a_cut_off_file_is_an_error():
    data = np.frombuffer(wire.encode_record(b"abcdefgh") * 2, np.uint8)
    with pytest.raises(wire.DamagedRecord, match="record 1 is cut off"):
        wire.index_records(data[:-3], "shard")
    with pytest.raises(wire.DamagedRecord, match="record 1 is cut off: 5 of 12"):
        wire.index_records(data[: 24 + 5], "shard")


def test_a_damaged_length_is_an_error():
    data = np.frombuffer(wire.encode_record(b"abcdefgh"), np.uint8).copy()
    data[0] ^= 1
    with pytest.raises(wire.DamagedRecord, match="checksum of its length"):
        wire.index_records(data, "shard")


def test_bytes_that_are_no_example_are_an_error():
    with pytest.raises(wire.DamagedRecord):
        wire.decode_example(b"\x0a\xff\x01hello")


def test_all_nans_are_written_as_the_same_bytes():
    other = np.array([0x7FC00001], np.uint32).view(np.float32)
    assert wire.encode_example({"x": other}) == wire.encode_example({"x": np.array([np.nan], np.float32)})


def test_text_is_no_float():
    with pytest.raises(TypeError, match="feature 'x'"):
        wire.encode_example({"x": np.array(["a"])})

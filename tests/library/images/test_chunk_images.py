"""A chunk's images on the disk: NumPy's own reader is the reference."""

import tracemalloc

import numpy as np
import pytest

from scanloom.images.chunk_images import DamagedChunk, Part, read_parts, write_parts


def parts(counts=(3, 1, 200), shape=(4, 5, 2), seed=0):
    rng = np.random.default_rng(seed)
    for number, count in enumerate(counts):
        yield Part(
            series_id=f"s{number}",
            images=rng.integers(0, 256, (count, *shape), dtype=np.uint8),
            slice_index=np.arange(count),
            spacing_mm=np.full(len(shape) - 1, number, np.float32),
            slope=np.array([1.0, number]),
            intercept=np.zeros(2),
            unit="HU",
            channels=("a", "b"),
        )


def test_numpy_reads_what_was_appended(tmp_path):
    shape = write_parts(tmp_path / "c.npy", tmp_path / "c.npz", parts(), [], 2, "uint8")
    expected = np.concatenate([part.images for part in parts()])
    assert shape == expected.shape
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), expected)
    chunk = read_parts(tmp_path / "c.npy", tmp_path / "c.npz")
    np.testing.assert_array_equal([chunk["images"][row] for row in range(len(expected))], expected)
    assert chunk["series_id"].tolist() == ["s0"] * 3 + ["s1"] + ["s2"] * 200
    assert chunk["slice_index"].tolist() == [0, 1, 2, 0, *range(200)]
    assert chunk["slope"][3].tolist() == [1.0, 1.0]
    assert (str(chunk["unit"]), chunk["channels"].tolist()) == ("HU", ["a", "b"])


@pytest.mark.parametrize("rank", [2, 3])
def test_a_chunk_without_images_keeps_rank_and_type(tmp_path, rank):
    write_parts(tmp_path / "c.npy", tmp_path / "c.npz", [], [], rank, "uint16")
    images = read_parts(tmp_path / "c.npy", tmp_path / "c.npz")["images"]
    assert (images.ndim, images.dtype, len(images)) == (rank + 2, np.uint16, 0)


def test_the_same_parts_give_the_same_bytes(tmp_path):
    for name in "ab":
        write_parts(tmp_path / f"{name}.npy", tmp_path / f"{name}.npz", parts(), [{"name": "x"}], 2, "uint8")
    for ending in ("npy", "npz"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:300] + bytes([b[300] ^ 1]) + b[301:], lambda b: b""])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_damage_is_found_before_anything_is_read(tmp_path, damage, ending):
    write_parts(tmp_path / "c.npy", tmp_path / "c.npz", parts(), [], 2, "uint8")
    path = tmp_path / f"c.{ending}"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedChunk, match="delete both and run again"):
        read_parts(tmp_path / "c.npy", tmp_path / "c.npz")


def test_an_error_midway_leaves_no_file(tmp_path):
    def failing():
        yield from parts()
        raise ValueError("series s3 cannot be read")

    with pytest.raises(ValueError, match="s3"):
        write_parts(tmp_path / "c.npy", tmp_path / "c.npz", failing(), [], 2, "uint8")
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_number_of_series(tmp_path):
    """Allocations at their peak, as Python and NumPy count them: 8 series need no more than 2 (each 0.8 MB)."""
    peaks = []
    for count in (2, 8):
        tracemalloc.start()
        write_parts(tmp_path / "c.npy", tmp_path / "c.npz", parts([20] * count, (200, 100, 2)), [], 2, "uint8")
        chunk = read_parts(tmp_path / "c.npy", tmp_path / "c.npz")
        assert sum(int(chunk["images"][row].max() > 0) for row in range(len(chunk["images"]))) == 20 * count
        del chunk
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000

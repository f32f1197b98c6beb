import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from scanloom.cataloguing.catalogue import CHUNK_COLUMNS
from scanloom.images import preprocessing
from scanloom.images.preprocessing import CannotPreprocess, preprocess_chunk, preprocess_series
from scanloom.readers._volume import READ_BY, Volume

WINDOWS = [{"name": "hu_window", "settings": {"windows": ["brain", "bone"]}}]
RESIZE = [{"name": "resize", "settings": {"size_px": [8, 10]}}]


def ct(slices=5, size=(16, 20), seed=0) -> Volume:
    hu = np.random.default_rng(seed).integers(-1024, 3071, (slices, *size))
    return Volume(hu.astype(np.float32), "HU", (5.0, 0.5, 0.5))


def rows(counts=None):
    """Chunk rows of series s0, s1, ... with the given numbers of slices."""
    counts = counts or [5, 3]
    return pd.DataFrame({"series_id": [f"s{i}" for i, n in enumerate(counts) for _ in range(n)]})


def read(series: pd.DataFrame) -> Volume:
    return ct(len(series), seed=int(series["series_id"].iloc[0][1:]))


def test_hounsfield_units_survive_uint16_bit_exactly():
    volume = ct()
    images, _, _, slope, intercept, unit, channels = preprocess_series(volume, [], 2, "uint16")
    assert images.dtype == np.uint16
    np.testing.assert_array_equal(images[..., 0] * slope + intercept, volume.values)
    assert (unit, channels) == ("HU", ("image",))


def test_uint8_leads_back_to_hu_within_half_a_grey_level():
    volume = ct()
    images, index, spacing, slope, intercept, _, channels = preprocess_series(volume, WINDOWS, 2, "uint8")
    assert images.shape == (5, 16, 20, 2)
    assert index.tolist() == [0, 1, 2, 3, 4]
    assert spacing.tolist() == [0.5, 0.5]
    assert channels == ("brain", "bone")
    back = images * slope + intercept
    for channel, (low, high) in enumerate([(0, 80), (-800, 2000)]):
        error = np.abs(back[..., channel] - np.clip(volume.values, low, high))
        assert error.max() <= (high - low) / 255 / 2 + 1e-3


def test_at_rank_3_a_series_is_one_image():
    images, index, spacing, *_ = preprocess_series(ct(), WINDOWS, 3, "uint8")
    assert images.shape == (1, 5, 16, 20, 2)
    assert index.tolist() == [0]
    assert spacing.tolist() == [5.0, 0.5, 0.5]


def test_dropped_slices_are_accounted_for():
    steps = [{"name": "select_slices", "settings": {"every": 2}}, *WINDOWS]
    images, index, *_ = preprocess_series(ct(7), steps, 2, "uint8")
    assert index.tolist() == [1, 3, 5]
    assert len(images) == 3


@pytest.mark.parametrize(
    ("steps", "dtype", "message"),
    [
        ([], "uint8", "cannot be stored as uint8; add a step that maps them"),
        ([{"name": "resample", "settings": {"spacing_mm": [1, None, None]}}], "uint16", "at rank 2 keep the z axis"),
        ([*WINDOWS, {"name": "crop_or_pad", "settings": {"size_px": [30, 30], "fill": -1024}}], "uint8", "not in"),
    ],
)
def test_what_cannot_be_stored_is_an_error_that_says_what_to_do(steps, dtype, message):
    with pytest.raises(CannotPreprocess, match=message):
        preprocess_series(ct(), steps, 2, dtype)


def test_negative_values_without_unit_do_not_fit_uint16():
    volume = Volume(np.full((1, 2, 2), -5, np.float32), "arbitrary", (1.0, 1.0, 1.0))
    with pytest.raises(CannotPreprocess, match="outside uint16"):
        preprocess_series(volume, [], 2, "uint16")


def test_fractions_are_rounded_only_where_enough_shades_are_left():
    fractions = np.linspace(0, 0.9, 256, dtype=np.float32).reshape(4, 8, 8)
    rows = pd.DataFrame({"series_id": ["s"]})

    def images(values, steps=()):
        def read(_):
            return Volume(values.copy(), "arbitrary", (1.0, 1.0, 1.0))

        blocks = [replace(read(0), values=part[np.newaxis].copy(), slice_index=np.arange(1)) for part in values]
        whole = preprocess_chunk(read, rows, list(steps), 2, "uint16")["images"]
        parts = preprocess_chunk(read, rows, list(steps), 2, "uint16", lambda *_: iter(blocks))["images"]
        np.testing.assert_array_equal(whole, parts)
        return whole.ravel()

    with pytest.raises(
        CannotPreprocess, match=r"series s: .* as whole numbers they are 2 shades from 0 to 1; add a step"
    ):
        images(fractions)
    np.testing.assert_array_equal(images(fractions * 4000), np.rint(fractions.ravel() * 4000))
    assert len(np.unique(images(fractions, [{"name": "percentile", "settings": {}}]))) > 200
    assert images(np.floor(fractions * 9)).max() == 8  # labels and counts are whole numbers already


def test_values_that_are_not_finite_are_an_error():
    volume = Volume(np.full((1, 2, 2), np.nan, np.float32), "HU", (1.0, 1.0, 1.0))
    with pytest.raises(CannotPreprocess, match="not finite"):
        preprocess_series(volume, [], 2, "uint16")


def test_a_chunk_holds_all_images_of_its_series_in_order():
    chunk = preprocess_chunk(read, rows(), [*WINDOWS, *RESIZE], 2, "uint8")
    assert chunk["images"].shape == (8, 8, 10, 2)
    assert chunk["series_id"].tolist() == ["s0"] * 5 + ["s1"] * 3
    assert chunk["slice_index"].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert chunk["slope"].shape == chunk["intercept"].shape == (8, 2)
    alone = preprocess_chunk(read, rows().iloc[5:], [*WINDOWS, *RESIZE], 2, "uint8")
    np.testing.assert_array_equal(alone["images"], chunk["images"][5:])


def test_readers_are_handed_the_columns_they_may_look_at():
    assert set(READ_BY) <= set(CHUNK_COLUMNS)
    table = rows([2]).assign(raw_patient="Doe", **dict.fromkeys(set(READ_BY) - {"series_id"}, 0))

    def reading(series: pd.DataFrame) -> Volume:
        assert list(series) == list(READ_BY)
        return ct(len(series))

    assert len(preprocess_chunk(reading, table, WINDOWS, 2, "uint8")["images"]) == 2


def test_series_of_other_scale_keep_their_own_way_back():
    def brighter(series):
        factor = 1 + int(series["series_id"].iloc[0][1:])
        return Volume(np.arange(4, dtype=np.float32).reshape(1, 2, 2) * factor, "arbitrary", (np.nan,) * 3)

    chunk = preprocess_chunk(brighter, rows([1, 1]), [{"name": "min_max", "settings": {}}], 2, "uint8")
    np.testing.assert_array_equal(chunk["images"][0], chunk["images"][1])
    np.testing.assert_allclose(chunk["slope"][:, 0] * 255, [3, 6])


def of_several_units(series):
    unit = {"s0": "0-4095", "s1": "arbitrary"}[series["series_id"].iloc[0]]
    return Volume(np.arange(4, dtype=np.float32).reshape(1, 2, 2), unit, (np.nan,) * 3)


def test_series_in_other_units_lie_side_by_side_once_they_are_mapped_to_one_range():
    chunk = preprocess_chunk(of_several_units, rows([1, 1]), [{"name": "percentile", "settings": {}}], 2, "uint8")
    np.testing.assert_array_equal(chunk["images"][0], chunk["images"][1])
    assert chunk["unit"] == ""


def test_values_stored_as_they_are_have_one_unit():
    said = "series s1: values in 'arbitrary', earlier ones in '0-4095'.*percentile"
    with pytest.raises(CannotPreprocess, match=said):
        preprocess_chunk(of_several_units, rows([1, 1]), [], 2, "uint16")


@pytest.mark.parametrize("rank", [2, 3])
def test_an_empty_chunk_is_written_and_read(tmp_path, rank):
    chunk = preprocess_chunk(read, rows().iloc[:0], WINDOWS, rank, "uint8")
    preprocessing.write_npz(tmp_path / "c.npz", chunk)
    assert preprocessing.read_npz(tmp_path / "c.npz")["images"].shape == (0,) * (rank + 2)


def test_images_of_two_sizes_say_which_step_to_add():
    def ragged(series):
        return ct(len(series), size=(16, 20 + len(series)))

    with pytest.raises(CannotPreprocess, match=r"series s1: .*earlier ones \(16, 25, 2\); add the step resize"):
        preprocess_chunk(ragged, rows(), WINDOWS, 2, "uint8")


def test_an_error_in_a_step_names_the_series_by_its_pseudonym():
    def grey(series):
        return Volume(np.zeros((1, 4, 4), np.float32), "0-255", (np.nan,) * 3)

    with pytest.raises(CannotPreprocess, match="series s0: hu_window needs CT values in HU"):
        preprocess_chunk(grey, rows([1]), WINDOWS, 2, "uint8")


def test_the_same_arrays_give_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    chunk = preprocess_chunk(read, rows(), WINDOWS, 2, "uint8")
    preprocessing.write_npz(tmp_path / "a.npz", chunk)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2e9))
    preprocessing.write_npz(tmp_path / "b.npz", chunk)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]
    for name, array in preprocessing.read_npz(tmp_path / "a.npz").items():
        np.testing.assert_array_equal(array, chunk[name])


def test_a_mask_lands_where_its_lesion_is():
    """A bright square and its mask go through the same steps and stay on top of each other."""
    hu = np.full((6, 32, 32), 0, np.float32)
    hu[2:4, 8:16, 20:28] = 80
    lesion = Volume((hu == 80).astype(np.float32), "mask", (5.0, 0.5, 0.5))
    steps = [
        {"name": "select_slices", "settings": {"central_share": 0.7}},
        {"name": "hu_window", "settings": {"windows": ["brain"]}},
        {"name": "resample", "settings": {"spacing_mm": [None, 1.0, 1.0]}},
        {"name": "crop_or_pad", "settings": {"size_px": [20, 14]}},
    ]
    images, index, *_ = preprocess_series(Volume(hu, "HU", (5.0, 0.5, 0.5)), steps, 2, "uint8")
    mask, mask_index = preprocessing.run_mask_steps(lesion, steps, 2)
    assert mask_index.tolist() == index.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(mask, images[..., 0] > 127)
    assert mask.any()
    volume, _ = preprocessing.run_mask_steps(lesion, steps, 3)
    np.testing.assert_array_equal(volume[0], mask)

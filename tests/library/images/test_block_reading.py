"""Series preprocessed while they are read are the same as series read whole and preprocessed step by step."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanloom import plugins
from scanloom.geometry import affine_on_grid
from scanloom.images.preprocessing import in_plane_first, preprocess_chunk, run_steps
from scanloom.readers import dicom
from scanloom.readers._volume import Volume

ROWS = pd.DataFrame({"series_id": ["0"]})


def step(name, **chosen):
    return {"name": name, "settings": chosen}


def one_by_one(volume, steps):
    for named in steps:
        module = plugins.load("steps", named["name"])
        volume = module.apply(volume, plugins.settings("steps", named["name"], named["settings"]))
    return volume


def in_blocks(volume, size=3):
    """`read_blocks` of a reader: what was said not to be needed is left out, or not a number."""

    def read_blocks(rows, with_padding=False, needed=None, first=None):
        z, *part = slice(0, volume.slices), slice(None), slice(None)
        if needed is not None:
            z, *part = needed(replace(volume, values=np.broadcast_to(np.float32(0), volume.values.shape)))
        values = np.full_like(volume.values, np.nan)
        values[:, *part] = volume.values[:, *part]
        for start in range(z.start, z.stop, size):
            block = slice(start, min(start + size, z.stop))
            mask = volume.padding_mask[block] if with_padding else None
            part = replace(
                volume,
                values=values[block],
                padding_mask=mask,
                slice_index=volume.slice_index[block],
                affine_lps=affine_on_grid(volume.affine_lps, (start, 0, 0), (1, 1, 1)),
            )
            yield part if first is None else first.apply(part)

    return read_blocks


def copied(volume):
    """As a reader gives it: the preprocessing may write over the values."""
    return replace(volume, values=volume.values.copy())


def volume_of(shape, spacing_mm, unit="HU"):
    values = np.random.default_rng(3).integers(-1000, 1500, shape).astype(np.float32)
    padding = np.zeros(shape, bool)
    padding[:, :1] = True
    affine = np.diag([*spacing_mm, 1.0])[[2, 1, 0, 3]][:, [0, 1, 2, 3]]
    return Volume(values, unit, spacing_mm, padding_mask=padding, affine_lps=affine)


@settings(deadline=None, max_examples=150)
@given(
    st.tuples(st.integers(1, 23), st.integers(1, 31), st.integers(1, 31)),
    st.tuples(st.floats(0.4, 3), st.floats(0.4, 3), st.floats(0.4, 3)),
    st.tuples(*[st.one_of(st.none(), st.floats(0.5, 3))] * 3),
    st.one_of(st.tuples(*[st.integers(1, 26)] * 3), st.tuples(*[st.integers(1, 26)] * 2)),
    st.sampled_from(["HU", "arbitrary"]),
)
def test_resample_and_crop_make_only_what_is_kept_and_it_is_the_same(shape, spacing, wanted, size, unit):
    volume = volume_of(shape, spacing, unit)
    volume = replace(volume, values=volume.values + 2000) if unit == "arbitrary" else volume
    steps = [step("resample", spacing_mm=wanted), step("crop_or_pad", size_px=size)]
    expected = one_by_one(volume, steps)
    fused = run_steps(volume, steps)
    np.testing.assert_allclose(fused.values, expected.values, atol=2e-3)
    np.testing.assert_allclose(fused.affine_lps, expected.affine_lps, atol=1e-9)
    np.testing.assert_array_equal(fused.padding_mask, expected.padding_mask)
    assert fused.slice_index.tolist() == expected.slice_index.tolist()
    assert fused.spacing_mm == pytest.approx(expected.spacing_mm)
    if wanted[0] is None or len(size) == 3:
        whole, read = (
            preprocess_chunk(lambda rows: copied(volume), ROWS, steps, 3, "uint16", blocks)
            for blocks in (None, in_blocks(volume))
        )
        # One unit of the stored integers where float sums of another order fall on the other side of a half.
        difference = np.abs(whole["images"].astype(int) - read["images"].astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.02
        np.testing.assert_allclose(whole["spacing_mm"], read["spacing_mm"])


@pytest.mark.parametrize(
    "steps",
    [
        [step("resample", spacing_mm=[None, 1.5, 1.5]), step("percentile")],
        [step("resample", spacing_mm=[2.0, 1.5, 1.5]), step("hu_window", windows=["brain", "bone"])],
        [step("hu_window", windows=["brain", "bone"]), step("resample", spacing_mm=[2.0, 1.5, 1.5])],
        [
            step("resize", size_px=[9, 10]),
            step("resample", spacing_mm=[3.0, 2.0, 2.0]),
            step("crop_or_pad", size_px=[4, 4, 4]),
        ],
        [step("canonical_orientation", in_plane_only=True), step("resample", spacing_mm=[None, 1.2, 1.2])],
        [step("percentile"), step("resample", spacing_mm=[None, 1.5, 1.5])],
        [step("crop_or_pad", size_px=[8, 8]), step("resample", spacing_mm=[None, 1.5, 1.5])],
    ],
)
def test_any_order_of_steps_gives_the_same_in_blocks(steps):
    volume = volume_of((11, 16, 18), (1.3, 0.8, 0.9))
    whole, read = (
        preprocess_chunk(lambda rows: copied(volume), ROWS, steps, 3, "uint16", blocks)
        for blocks in (None, in_blocks(volume))
    )
    for name in whole:
        if whole[name].dtype.kind in "iuf":
            np.testing.assert_allclose(whole[name].astype(float), read[name].astype(float), atol=1, rtol=1e-6)
        else:
            assert whole[name].tolist() == read[name].tolist()


@pytest.mark.parametrize(
    "steps",
    [
        [step("resample", spacing_mm=[None, 1.5, 1.5]), step("hu_window", windows=["brain", "bone"])],
        [step("resample", spacing_mm=[None, 1.5, 1.5]), step("crop_or_pad", size_px=[7, 20])],
        [step("canonical_orientation", in_plane_only=True), step("resize", size_px=[9, 10])],
    ],
)
def test_slices_as_images_are_the_same_in_blocks(steps):
    volume = volume_of((11, 16, 18), (1.3, 0.8, 0.9))
    whole, read = (
        preprocess_chunk(lambda rows: copied(volume), ROWS, steps, 2, "uint16", blocks)
        for blocks in (None, in_blocks(volume))
    )
    assert whole["images"].shape[0] == 11
    assert read["slice_index"].tolist() == list(range(11))
    np.testing.assert_allclose(whole["images"].astype(float), read["images"].astype(float), atol=1)
    np.testing.assert_allclose(whole["spacing_mm"], read["spacing_mm"])


def test_steps_that_need_the_whole_series_are_not_split():
    early, late, cut = in_plane_first([step("percentile"), step("resample", spacing_mm=[1.0, 1.0, 1.0])])
    assert (early, [named["name"] for named in late], cut) == ([], ["percentile", "resample"], None)


def test_a_real_series_in_blocks_is_the_real_series(shared_data):
    root = shared_data / "sts_pet_ct_mr_part/dicom/STS_008/CT/image"
    chosen = dicom.Settings()
    rows = dicom.group_series(dicom.scan(root, chosen), chosen).images.assign(series_id="0")
    blocks = list(dicom.read_blocks(root, rows, chosen, True))
    assert len(blocks) > 2
    whole = dicom.read_series(root, rows, chosen)
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), whole.values)
    assert np.concatenate([block.slice_index for block in blocks]).tolist() == whole.slice_index.tolist()
    for block in blocks:
        assert block.spacing_mm == whole.spacing_mm
        first = int(block.slice_index[0])
        np.testing.assert_allclose(block.affine_lps @ [0, 1, 2, 1], whole.affine_lps @ [first, 1, 2, 1])
    steps = [step("resample", spacing_mm=[2.0, 2.0, 2.0]), step("crop_or_pad", size_px=[24, 24, 24])]
    images = [
        preprocess_chunk(
            lambda part: dicom.read_series(root, part, chosen),
            rows,
            steps,
            3,
            "uint16",
            read,
        )["images"]
        for read in (None, lambda part, *choices: dicom.read_blocks(root, part, chosen, *choices))
    ]
    assert images[0].shape == (1, 24, 24, 24, 1)
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1


def test_a_stack_to_be_corrected_comes_as_one_block(shared_data):
    root = shared_data / "dicom_cases/dicom2nifti/failing/gantrytilting"
    chosen = dicom.Settings(gantry_tilt="correct")
    rows = dicom.group_series(dicom.scan(root, chosen), chosen).images
    (block,) = dicom.read_blocks(root, rows, chosen, True, lambda volume: pytest.fail("asked for a part"))
    np.testing.assert_array_equal(block.values, dicom.read_series(root, rows, chosen).values)

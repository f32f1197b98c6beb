"""Patches of images with known content have the right answer, and places are learnt."""

import keras
import numpy as np
import pretext_toys
import pydantic
import pytest

from scanloom.methods import relative_patch_location
from scanloom.methods._patches import cell_grid, cut
from scanloom.methods.relative_patch_location import Settings
from scanloom.training.branches import of_method


@pytest.mark.parametrize(("rank", "per_side"), [(2, 3), (3, 3), (2, 5)])
def test_the_answer_is_the_number_of_the_neighbours_cell(rank, per_side):
    settings = Settings(per_side=per_side, normalise=False, intensity_jitter=0, jitter=0.3, gap=0.2)
    images = np.repeat(pretext_toys.cells_of(per_side, 8, rank)[None], 200, axis=0)
    batch = pretext_toys.batch_of(relative_patch_location, settings, images)
    grid = cell_grid(settings, per_side, images.shape[1:])
    patches = keras.ops.convert_to_numpy(cut(images.astype(np.float32), of_method(batch), grid, settings))
    assert (patches[:, 0] == per_side**rank // 2).all()
    without_centre = np.delete(np.arange(per_side**rank), per_side**rank // 2)
    expected = without_centre[pretext_toys.drawn(batch, "neighbour")]
    assert (patches[:, 1] == expected.reshape(-1, *(1,) * (rank + 1))).all()


@pytest.mark.parametrize(("shape", "classes"), [((15, 15, 3), 8), ((12, 12, 12, 1), 26)])
def test_there_are_8_answers_in_images_and_26_in_volumes_all_as_frequent(shape, classes):
    batch = pretext_toys.batch_of(relative_patch_location, Settings(), np.zeros((4000, *shape), np.uint8))
    counts = np.bincount(pretext_toys.drawn(batch, "neighbour"), minlength=classes)
    assert len(counts) == classes
    expected = 4000 / classes
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    model = pretext_toys.make(relative_patch_location, Settings(), shape)
    assert model.head.output.shape[-1] == classes


def test_an_even_grid_has_no_middle():
    with pytest.raises(pydantic.ValidationError, match="must be odd"):
        Settings(per_side=4)


@pytest.mark.parametrize(("shape", "chance"), [((12, 12, 3), 1 / 8), ((9, 9, 9, 3), 1 / 26)])
def test_places_are_learnt_where_content_tells_them(shape, chance):
    rank = len(shape) - 1

    def images_at(step):
        # One sawtooth per axis, of as many teeth as cells have pixels: channels tell how far along an axis a patch is.
        place = np.indices(shape[:-1]) / np.array(shape[:-1]).reshape(-1, *(1,) * rank)
        colours = 200 * np.moveaxis(np.concatenate([place, place])[:3], 0, -1)
        return (colours + np.random.default_rng(step).normal(20, 10, (64, *shape))).clip(0, 255).astype(np.uint8)

    settings = Settings(normalise=False, intensity_jitter=0, head=(64,), jitter=0, gap=0)
    accuracy = pretext_toys.after_training(relative_patch_location, settings, images_at, updates=40)["accuracy"]
    assert accuracy > 3 * chance

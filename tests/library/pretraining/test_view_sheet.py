"""The sheet shows exactly the views that pretraining draws."""

import keras
import numpy as np
import tiny_corpus

from scanloom.methods import barlow_twins
from scanloom.pretraining import view_sheet
from scanloom.pretraining.method_batches import draws
from scanloom.pretraining.view_choice import pairs
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.stateless_random import keys_of
from scanloom.training.branches import of_branch


def listed(*names):
    return [{"name": name, "settings": {"p": 0.5}} for name in names]


def corpus():
    shards = tiny_corpus.TinyCorpus()
    shards.image_spec["channels"] = ["grey"]
    return shards


def test_views_are_those_of_the_first_epochs_of_pretraining_with_the_same_seed():
    shards, views = corpus(), {"branch_1": listed("flip", "rotation"), "branch_2": listed("flip", "invert")}
    sheet = view_sheet.view_sheet(shards, views, 3, seed=5)
    pipeline = Pipeline(pairs(views), tuple(shards.image_spec["shape"]))
    for case, item in enumerate(sheet["item_id"]):
        row = int(np.flatnonzero(shards.table["item_id"] == item)[0])
        image = shards.images([row]).astype(np.float32) / 255
        assert np.array_equal(sheet["original"][case], shards.images([row])[0])
        for number in range(view_sheet.VIEWS):
            drawn = draws(barlow_twins, None, pipeline, 5, number // 2, keys_of([item]))
            seen = keras.ops.convert_to_numpy(pipeline.apply(image, of_branch(drawn, number % 2)))[0]
            assert np.abs(255 * seen - sheet["views"][case, number]).max() <= 0.5 + 1e-3
    assert sheet["branch"].tolist() == [1, 2] * 4


def test_patients_are_different_and_every_view_is_shown_alone_once():
    shards, views = corpus(), listed("flip", "invert") + listed("flip")
    sheet = view_sheet.view_sheet(shards, views, 3, seed=5)
    table = shards.table.set_index("item_id")
    assert table.loc[sheet["item_id"], "patient_id"].is_unique
    assert sheet["alone_names"].tolist() == ["flip", "invert"]
    assert np.array_equal(sheet["alone"][1, 0], 255 - sheet["original"][0])
    assert np.array_equal(sheet["alone"][0, 0], sheet["original"][0][:, ::-1])
    assert set(sheet["branch"]) == {0}


def test_of_a_volume_the_middle_slice_is_shown():
    volume = np.arange(5, dtype=np.float32)[None, :, None, None, None] * np.ones((1, 5, 3, 4, 1), np.float32) / 255
    assert view_sheet._picture(volume).shape == (3, 4, 1)
    assert (view_sheet._picture(volume) == 2).all()

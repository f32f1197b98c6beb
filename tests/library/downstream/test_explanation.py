"""Chosen cases, the pointing game, and both together on a planted signal."""

import json

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from scanloom.downstream.downstream_task import Task
from scanloom.downstream.explanation import explain, save
from scanloom.downstream.heads import classifier
from scanloom.explain._cases import choose_cases
from scanloom.explain._pointing import hits, near, summary
from scanloom.explain._upsample import upsample
from scanloom.images.intensity import to_unit
from scanloom.lazy import keras

TASK = Task("bleed", ("no", "yes"), "binary")


def predictions_of(p1, labels, patients, items=None):
    p1 = np.asarray(p1, float)
    items = items if items is not None else [f"i{i}" for i in range(len(p1))]
    columns = {"item_id": items, "patient_id": patients, "label": labels, "split": "test", "p0": 1 - p1, "p1": p1}
    return pd.DataFrame(columns)


def test_cases_are_the_most_confident_of_each_class_and_outcome():
    table = predictions_of([0.1, 0.4, 0.9, 0.95, 0.6, 0.2], [0, 0, 0, 1, 1, 1], list("abcdef"))
    cases = choose_cases(table, 2, 1)
    assert cases["item_id"].tolist() == ["i0", "i2", "i3", "i5"]
    assert cases["group"].tolist() == ["right", "wrong", "right", "wrong"]
    assert cases["prediction"].tolist() == [0, 1, 1, 0]
    assert np.allclose(cases["probability"], [0.9, 0.9, 0.95, 0.8])


def test_no_patient_is_shown_twice_and_row_order_does_not_matter():
    random = np.random.default_rng(0)
    table = predictions_of(random.random(60).round(1), random.integers(0, 2, 60), [f"p{i % 9}" for i in range(60)])
    cases = choose_cases(table, 2, 2)
    assert cases["patient_id"].is_unique
    assert cases.equals(choose_cases(table.sample(frac=1, random_state=1), 2, 2))


def test_a_hit_is_a_maximum_inside_the_target_and_a_constant_map_points_nowhere():
    maps = np.zeros((3, 4, 4))
    maps[0, 1, 1], maps[1, 3, 3] = 2, 2
    target = np.zeros((3, 4, 4), bool)
    target[:, :2, :2] = True
    assert hits(maps, target).tolist() == [True, False, False]
    volumes = np.zeros((1, 2, 3, 4))
    volumes[0, 1, 2, 3] = 1
    assert hits(volumes, volumes > 0).tolist() == [True]


@pytest.mark.parametrize("coarse", [4, 7])
def test_a_hit_of_a_mirrored_image_is_the_hit_of_the_image(coarse):
    """Nor may it matter in which row of the coarse map the maximum lies."""
    rng, size = np.random.default_rng(0), 56
    maps = upsample(rng.random((300, coarse, coarse), np.float32), (size, size))
    masks = rng.random((300, 8, 8)).repeat(7, axis=1).repeat(7, axis=2) < 0.3
    found = hits(maps, masks)
    assert 0.2 < found.mean() < 0.4
    for axis in ((1,), (2,), (1, 2)):
        assert np.array_equal(hits(np.flip(maps, axis), np.flip(masks, axis)), found)


def test_tolerance_grows_the_mask_by_a_disc():
    mask = np.zeros((1, 7, 7), bool)
    mask[0, 3, 3] = True
    y, x = np.mgrid[:7, :7]
    assert np.array_equal(near(mask, 2)[0], (y - 3) ** 2 + (x - 3) ** 2 <= 4)
    assert near(mask, 0) is mask
    assert not near(np.zeros((1, 3, 3), bool), 2).any()


def test_rate_and_chance_are_means_and_the_interval_widens_when_images_share_patients():
    is_hit = np.tile([True, True, False], 40)
    targets = np.zeros((120, 10, 10), bool)
    targets[:, :2, :5] = True
    alone = summary(is_hit, targets, np.arange(120), seed=0)
    assert (alone["hits"], alone["n"], alone["n_patients"]) == (80, 120, 120)
    assert alone["rate"] == pytest.approx(2 / 3)
    assert alone["chance"] == pytest.approx(0.1)
    low, high = proportion_confint(80, 120, method="normal")
    assert alone["low"] == pytest.approx(low, abs=0.015)
    assert alone["high"] == pytest.approx(high, abs=0.015)
    clustered = summary(np.sort(is_hit), targets, np.arange(120) // 10, seed=0)
    assert clustered["n_patients"] == 12
    assert clustered["high"] - clustered["low"] > 2 * (high - low)
    assert alone == summary(is_hit, targets, np.arange(120), seed=0)


def test_without_a_miss_the_interval_is_wilsons_over_patients():
    found = summary(np.ones(30, bool), np.ones((30, 2), bool), np.arange(30) // 3, seed=0)
    low, high = proportion_confint(10, 10, method="wilson")
    assert (found["low"], found["high"]) == (pytest.approx(low), pytest.approx(high))
    assert found["interval"] == "Wilson over patients"


@pytest.fixture(scope="module")
def planted():
    """Noise with a bright 4x4 block in half of the images, and a small network that learned to find it."""
    random = np.random.default_rng(0)
    n, size = 240, 24
    labels = np.arange(n) % 2
    images = random.integers(0, 140, (n, size, size, 1)).astype(np.uint8)
    masks = np.zeros((n, size, size), bool)
    for index in np.flatnonzero(labels):
        y, x = random.integers(0, size - 4, 2)
        masks[index, y : y + 4, x : x + 4] = True
        images[index, y : y + 4, x : x + 4] += 100
    inputs = keras.Input((size, size, 1))
    flow = inputs
    for layer, (filters, name) in enumerate([(8, None), (16, "feature_map")]):
        init = keras.initializers.HeNormal(layer)
        flow = keras.layers.Conv2D(
            filters, 3, strides=1 + layer, padding="same", activation="relu", kernel_initializer=init, name=name
        )(flow)
    model = classifier(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(flow)), 2)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-2), loss, jit_compile=False)
    for step in range(120):
        rows = np.arange(step * 40, step * 40 + 40) % 160
        model.train_on_batch(to_unit(images[rows]), labels[rows])
    table = pd.DataFrame({"item_id": [f"i{i}" for i in range(n)], "patient_id": [f"p{i // 2}" for i in range(n)]})
    logits = np.asarray(model(to_unit(images)))
    p1 = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    predictions = predictions_of(p1, labels, table["patient_id"], table["item_id"]).iloc[160:]
    mask_of = {table["item_id"][i]: masks[i] for i in range(n)}
    return model, images, table, predictions, mask_of


def explained(planted, **options):
    model, images, table, predictions, masks = planted
    new = classifier(keras.Model(model.input, model.layers[-2].output), 2)
    models = {"barlow_twins": model, "from_scratch": new}
    untrained = predictions.assign(p0=0.5, p1=0.5)
    both = {"barlow_twins": predictions, "from_scratch": untrained}
    return explain(lambda rows: images[rows], table, both, models, TASK, masks, **options)


def test_a_planted_signal_is_pointed_at_and_chance_is_its_area(planted):
    _, _, _, predictions, _ = planted
    assert ((predictions["p1"] > 0.5) == (predictions["label"] == 1)).mean() > 0.9
    pointing = explained(planted).pointing["methods"]
    assert pointing["barlow_twins"]["n"] >= 36
    assert pointing["barlow_twins"]["rate"] >= 0.9
    assert pointing["barlow_twins"]["chance"] == pytest.approx(16 / 576)
    assert pointing["barlow_twins"]["low"] > pointing["barlow_twins"]["chance"]
    assert pointing["from_scratch"] == {
        **dict.fromkeys(("rate", "low", "high", "chance", "interval")),
        **{"hits": 0, "n": 0, "n_patients": 0},
    }


def test_both_networks_show_the_same_cases_with_masks_and_maps(planted, tmp_path):
    model, images, _, predictions, masks = planted
    result = explained(planted, cases_per_group=2)
    save(result, tmp_path)
    cases = pd.read_parquet(tmp_path / "cases.parquet")
    arrays = np.load(tmp_path / "cases.npz")
    rows = [int(item[1:]) for item in cases["item_id"]]
    assert set(cases["item_id"]) <= set(predictions["item_id"])
    assert np.array_equal(arrays["images"], images[rows])
    assert np.array_equal(arrays["masks"], [masks[item] for item in cases["item_id"]])
    assert arrays["maps_barlow_twins"].shape == arrays["maps_from_scratch"].shape == (len(cases), 24, 24)
    assert arrays["maps_from_scratch"].max() == 0  # a head at zero has no evidence for anything
    assert np.allclose(cases["probability_barlow_twins"], cases["probability"])
    assert np.allclose(cases["probability_from_scratch"], 0.5)
    assert (cases["prediction_from_scratch"] == 0).all()  # each network's own prediction: p1 is not above one half
    assert json.loads((tmp_path / "pointing.json").read_text()) == result.pointing
    assert model.name == "classifier"


def test_predictions_of_several_seeds_and_unmatched_names_are_errors(planted):
    model, images, table, predictions, masks = planted
    twice = pd.concat([predictions, predictions])
    with pytest.raises(ValueError, match="m: predictions must have each test image once"):
        explain(lambda rows: images[rows], table, {"m": twice}, {"m": model}, TASK, masks)
    with pytest.raises(ValueError, match="must name the same methods"):
        explain(lambda rows: images[rows], table, {"m": predictions}, {"n": model}, TASK, masks)

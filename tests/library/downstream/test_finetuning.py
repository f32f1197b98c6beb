"""The finetuned arm on a tiny network that can be trained in a second."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from scanloom import plugins
from scanloom.downstream.arms import Finetuned
from scanloom.downstream.downstream_task import Arm, Task
from scanloom.downstream.finetuning import finetune, phase_of, set_frozen
from scanloom.downstream.heads import classifier, head_of, softmax
from scanloom.images.intensity import to_unit
from scanloom.lazy import keras
from scanloom.pretraining.view_pipeline import Pipeline
from scanloom.training.training_loop import train_steps

TASK = Task("bleed", ("no", "yes"), "binary")
SIZE = 8
SHAPE = (SIZE, SIZE, 1)
SETTINGS = Finetuned(updates=12, warmup_updates=4, batch=8, learning_rates=[3e-3, 1e-2], validate_every=4)
VIEWS = Pipeline([("flip", {"p": 0.5})], SHAPE)


def tiny_encoder(settings, image_shape, seed):
    inputs = keras.Input(image_shape)
    init = keras.initializers.HeNormal(seed)
    flow = keras.layers.Conv2D(4, 3, padding="same", kernel_initializer=init, name="conv")(inputs)
    flow = keras.layers.BatchNormalization(name="norm")(flow)
    flow = keras.layers.ReLU(name="feature_map")(flow)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D(name="pool")(flow), name="tiny")


@pytest.fixture(autouse=True, scope="module")
def tiny():
    """`encoders/tiny`, without writing a file into the package."""
    load = plugins.load
    fake = SimpleNamespace(build=tiny_encoder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "load", lambda kind, name: fake if name == "tiny" else load(kind, name))
        yield


def shards(n_patients=50, seed=0):
    """Two images per patient; every second patient has a bright corner."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), 2)
    bleed = (patient // 5 % 2).astype(float)
    images = random.integers(0, 150, (len(patient), *SHAPE)).astype(np.uint8)
    images[bleed == 1, :4, :4] += 100
    table = pd.DataFrame(
        {
            "item_id": [f"i{i:03d}" for i in range(len(patient))],
            "series_id": [f"s{p:03d}" for p in patient],
            "patient_id": [f"p{p:03d}" for p in patient],
            "split": np.array(["train", "train", "train", "validation", "test"])[patient % 5],
            "dataset": "toy",
            "slice_index": np.arange(len(patient)) % 2,
            "bleed": bleed,
        }
    )
    return SimpleNamespace(table=table, images=lambda rows: images[rows])


def fraction_table(toy, seeds):
    train = sorted(set(toy.table.loc[toy.table["split"] == "train", "patient_id"]))
    return pd.DataFrame([(seed, patient) for seed in seeds for patient in train], columns=["seed", "patient_id"])


def run(folder, seeds=(0, 1), arm=None, toy=None, settings=SETTINGS, patients=None):
    toy = toy or shards()
    arm = arm or Arm("from_scratch", "tiny", None)
    patients = fraction_table(toy, seeds) if patients is None else patients
    return finetune(toy, 1.0, patients, TASK, arm, VIEWS, settings, list(seeds), folder)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run(tmp_path_factory.mktemp("run"))


def test_tables_hold_every_training_and_the_chosen_ones_predictions(result):
    selection, predictions = result.selection, result.predictions
    assert list(selection) == [
        *("method", "schedule", "fraction", "seed", "candidate", "learning_rate", "l2", "updates"),
        *("validation_score", "chosen", "labelled_patients", "labelled_images"),
    ]
    assert selection[["seed", "learning_rate"]].to_numpy().tolist() == [[0, 3e-3], [0, 1e-2], [1, 3e-3], [1, 1e-2]]
    assert selection["labelled_images"].tolist() == [60] * 4
    assert selection["labelled_patients"].tolist() == [30] * 4
    for seed, candidates in selection.groupby("seed"):
        chosen = candidates[candidates["chosen"]]
        assert len(chosen) == 1
        validation = predictions[(predictions["seed"] == seed) & (predictions["split"] == "validation")]
        score = roc_auc_score(validation["label"], validation["p1"])
        assert chosen["validation_score"].item() == pytest.approx(score)
        assert score == pytest.approx(candidates["validation_score"].max())
    assert np.allclose(predictions["p0"] + predictions["p1"], 1)
    assert predictions.groupby(["seed", "split"]).size().tolist() == [20] * 4


def test_the_best_update_on_validation_is_kept_and_every_training_has_the_same_number_of_updates(result):
    keys = ["seed", "candidate"]
    for key, training in result.history.groupby(keys):
        assert training["step"].tolist() == [4, 8, 12, 16]
        assert training["phase"].tolist() == ["head", "all", "all", "all"]
        row = result.selection.set_index(keys).loc[key]
        assert row["validation_score"] == pytest.approx(training["validation_score"].max())
        best = training.sort_values(["validation_score", "validation_loss"], ascending=[False, True]).iloc[0]
        assert row["updates"] == best["step"]


def test_the_saved_model_gives_the_predictions_of_the_first_seed(result):
    model = keras.saving.load_model(result.model_path, compile=False)
    assert model.get_layer("feature_map").output.shape == (None, SIZE, SIZE, 4)
    toy = shards()
    test = np.flatnonzero(toy.table["split"] == "test")
    found = softmax(np.asarray(model(to_unit(toy.images(test)), training=False)))
    said = result.predictions[(result.predictions["seed"] == 0) & (result.predictions["split"] == "test")]
    assert np.allclose(found, said[["p0", "p1"]], atol=1e-5)


def test_warm_up_leaves_the_encoder_alone_to_the_bit_and_trains_the_head():
    network = classifier(tiny_encoder(None, SHAPE, 0), 2)
    set_frozen(network, True)
    head_phase = phase_of(network, VIEWS, SETTINGS, frozen=True)
    before = {v.path: np.array(v.numpy()) for v in network.variables}
    random = np.random.default_rng(0)

    def batch_at(step):
        images = random.integers(100, 255, (8, *SHAPE)).astype(np.uint8)
        draws = VIEWS.draw(0, 0, step, np.arange(8))
        labels = {"labels": np.arange(8, dtype=np.int32) % 2, "weights": np.ones(8, np.float32)}
        return {"images": images, **labels, **{f"draw_{k}": v for k, v in draws.items()}}

    train_steps(head_phase, batch_at, lambda step: 0.1, 5)
    changed = {v.path for v in network.variables if not np.array_equal(before[v.path], v.numpy())}
    assert changed == {"logits/kernel", "logits/bias"}
    set_frozen(network, False)
    train_steps(phase_of(network, VIEWS, SETTINGS, frozen=False), batch_at, lambda step: 0.1, 5)
    changed = {v.path for v in network.variables if not np.array_equal(before[v.path], v.numpy())}
    assert changed == set(before)


def test_a_pretrained_encoder_is_loaded_and_starts_every_seed(tmp_path):
    encoder = tiny_encoder(None, SHAPE, 99)
    encoder.get_layer("norm").moving_mean.assign([9.0, -9.0, -9.0, -9.0])
    encoder.save(tmp_path / "encoder.keras")
    arm = Arm("barlow_twins", "tiny", None, tmp_path / "encoder.keras")
    only_head = Finetuned(updates=1, warmup_updates=8, batch=8, learning_rates=[1e-9], validate_every=1)
    found = run(tmp_path / "run", arm=arm, settings=only_head)
    assert set(found.predictions["method"]) == {"barlow_twins"}
    model = keras.saving.load_model(found.model_path, compile=False)
    moved = model.get_layer("norm").moving_mean.numpy() / encoder.get_layer("norm").moving_mean.numpy()
    assert np.allclose(moved, 0.9, atol=0.02)  # one update of running statistics at momentum 0.9
    assert np.allclose(model.get_layer("conv").kernel.numpy(), encoder.get_layer("conv").kernel.numpy(), atol=1e-6)


def test_an_encoder_that_does_not_fill_the_network_is_an_error(tmp_path):
    inputs = keras.Input(SHAPE)
    flow = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(flow)).save(tmp_path / "encoder.keras")
    arm = Arm("barlow_twins", "tiny", None, tmp_path / "encoder.keras")
    with pytest.raises(ValueError, match="2 variables matched, 4 missed, 0 unused; the encoder lacks norm"):
        run(tmp_path / "run", arm=arm)


def test_from_scratch_starts_anew_from_each_seed(tmp_path):
    frozen = Finetuned(updates=1, warmup_updates=0, batch=8, learning_rates=[1e-9], validate_every=1)
    scores = run(tmp_path / "run", settings=frozen).predictions
    a, b = (scores.loc[scores["seed"] == seed, "p1"].to_numpy() for seed in (0, 1))
    assert not np.array_equal(a, b)
    model = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    kernel = tiny_encoder(None, SHAPE, 0).get_layer("conv").kernel.numpy()
    assert np.allclose(model.get_layer("conv").kernel.numpy(), kernel, atol=1e-6)


def test_a_killed_job_goes_on_with_what_is_finished_and_ends_the_same(tmp_path):
    first = run(tmp_path / "run")
    parts = sorted((tmp_path / "run" / "checkpoints").glob("*.npz"))
    assert [part.name for part in parts] == [
        f"seed-{seed}-learning_rate-{rate}.npz" for seed in (0, 1) for rate in ("0.003", "0.01")
    ]
    parts[2].unlink()
    (tmp_path / "run" / "model.keras").unlink()
    kept = [part.stat().st_mtime_ns for part in (parts[0], parts[1], parts[3])]
    again = run(tmp_path / "run")
    assert [part.stat().st_mtime_ns for part in (parts[0], parts[1], parts[3])] == kept
    assert first.predictions.equals(again.predictions)
    assert first.selection.equals(again.selection)
    assert again.model_path.exists()
    (tmp_path / "run" / "model.keras").unlink()
    assert run(tmp_path / "run").model_path.exists()  # nothing left to train: the network is built for saving only


def test_results_do_not_depend_on_which_trainings_ran_before(tmp_path):
    both = run(tmp_path / "both").predictions
    alone = run(tmp_path / "alone", seeds=(1,)).predictions
    part = both[both["seed"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, alone)


def test_an_easy_signal_is_learned(tmp_path):
    longer = Finetuned(updates=60, warmup_updates=10, batch=16, learning_rates=[3e-2], validate_every=60)
    predictions = run(tmp_path / "run", seeds=(0,), settings=longer).predictions
    test = predictions[predictions["split"] == "test"]
    assert roc_auc_score(test["label"], test["p1"]) > 0.9
    assert ((test["p1"] > 0.5) == (test["label"] == 1)).mean() > 0.8


def test_running_statistics_have_caught_up_when_the_network_is_asked(tmp_path):
    longer = Finetuned(updates=60, warmup_updates=0, batch=16, learning_rates=[3e-2], validate_every=60)
    model = keras.saving.load_model(run(tmp_path / "run", seeds=(0,), settings=longer).model_path, compile=False)
    toy = shards()
    images = to_unit(toy.images(np.flatnonzero(toy.table["split"] == "train")))
    before_norm = np.asarray(keras.Model(model.input, model.get_layer("conv").output)(images))
    spread = before_norm.std(axis=(0, 1, 2))
    gap = np.abs(before_norm.mean(axis=(0, 1, 2)) - model.get_layer("norm").moving_mean.numpy()) / spread
    assert gap.max() < 0.35


def test_a_learning_rate_that_diverges_loses_and_changes_nothing_for_the_others(tmp_path, caplog):
    both = run(tmp_path / "both", settings=SETTINGS.model_copy(update={"learning_rates": [1e20, 3e-3]}))
    alone = run(tmp_path / "alone", settings=SETTINGS.model_copy(update={"learning_rates": [3e-3]}))
    pd.testing.assert_frame_equal(both.predictions, alone.predictions)
    wild, tame = (both.selection[both.selection["learning_rate"] == rate] for rate in (1e20, 3e-3))
    assert wild["validation_score"].isna().all()
    assert not wild["chosen"].any()
    assert (wild["updates"] == 0).all()
    pd.testing.assert_frame_equal(tame.reset_index(drop=True), alone.selection)
    assert set(both.history["candidate"]) == {"learning_rate=0.003"}
    assert "from_scratch, seed 1, learning rate 1e+20 diverges and is not chosen" in caplog.text


def test_learning_rates_that_all_diverge_are_an_error_with_their_method_and_seed(tmp_path):
    said = r"from_scratch, seed 0: .* every learning rate \(1e\+20, 1e\+25\); lower"
    with pytest.raises(FloatingPointError, match=said):
        run(tmp_path, settings=SETTINGS.model_copy(update={"learning_rates": [1e20, 1e25]}))


def test_a_test_patient_in_the_fraction_is_an_error(tmp_path):
    patients = pd.DataFrame({"seed": 0, "patient_id": ["p000", "p005", "p004"]})
    with pytest.raises(ValueError, match="1 labelled patients are not training patients, first: p004"):
        run(tmp_path / "run", seeds=(0,), patients=patients)


def test_balanced_loss_counts_every_class_the_same():
    network = classifier(tiny_encoder(None, SHAPE, 0), 2)
    phase = phase_of(network, VIEWS, SETTINGS, frozen=False)
    head_of(network).bias.assign([0.0, 1.0])
    logits = np.array([[0.0, 1.0]] * 4, np.float32)
    given = {"labels": np.array([0, 0, 0, 1]), "weights": np.array([2 / 3, 2 / 3, 2 / 3, 2], np.float32)}
    loss = float(phase.compute_loss(x=given, y_pred=keras.ops.convert_to_tensor(logits)))
    assert loss == pytest.approx((np.log(1 + np.e) + np.log(1 + np.exp(-1))) / 2, rel=1e-5)

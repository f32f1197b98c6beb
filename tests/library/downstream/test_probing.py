"""Linear probe: the optimum it must find, what it may look at, and its tables."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from scanloom.downstream.arms import Frozen
from scanloom.downstream.downstream_task import Arm, Task, balanced_weights, labelled_rows, patients_of, selection_score
from scanloom.downstream.probing import probe

TASK = Task("bleed", ("no", "yes"), "binary")
THREE = Task("kind", ("a", "b", "c"), "multiclass")


def cohort(n_patients=60, images=2, seed=0):
    """A shards' table: patients 0..n-1, two images each, 60/20/20 % train/validation/test."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), images)
    split = np.array(["train"] * 6 + ["validation"] * 2 + ["test"] * 2)[patient % 10]
    bleed = (patient // 10 % 2).astype(float)
    return pd.DataFrame(
        {
            "item_id": [f"s{p:03d}-{i % images:04d}" for i, p in enumerate(patient)],
            "series_id": [f"s{p:03d}" for p in patient],
            "patient_id": [f"p{p:03d}" for p in patient],
            "split": split,
            "dataset": "toy",
            "slice_index": np.arange(len(patient)) % images,
            "bleed": bleed,
            "kind": (patient // 10 % 3).astype(float),
        }
    ), random


def everyone(table, seeds=(0,)):
    train = sorted(set(table.loc[table["split"] == "train", "patient_id"]))
    return pd.DataFrame([(seed, patient) for seed in seeds for patient in train], columns=["seed", "patient_id"])


def features_for(table, random, label="bleed", strength=2.0, dimensions=8):
    features = random.normal(size=(len(table), dimensions)).astype(np.float32)
    features[:, 0] += strength * table[label].to_numpy()
    return features


def test_fit_is_the_minimum_of_the_penalised_balanced_cross_entropy():
    table, random = cohort()
    features = features_for(table, random)
    fractions = {1.0: everyone(table)}
    predictions, _ = probe(lambda seed: features, table, fractions, TASK, "m", Frozen(l2=[0.5]), [0])
    train = (table["split"] == "train").to_numpy()
    labels = table["bleed"].to_numpy()
    x = (features - features[train].mean(0)) / features[train].std(0)
    design = np.c_[x, np.ones(len(x))].astype(float)
    weights = balanced_weights(labels[train].astype(int), 2)
    beta = np.zeros(design.shape[1])  # Newton's method on the same objective, written out
    penalty = np.r_[np.ones(x.shape[1]), 0] / 0.5
    for _ in range(50):
        p = 1 / (1 + np.exp(-design[train] @ beta))
        gradient = design[train].T @ (weights * (p - labels[train])) + penalty * beta
        hessian = design[train].T @ ((weights * p * (1 - p))[:, None] * design[train]) + np.diag(penalty)
        beta -= np.linalg.solve(hessian, gradient)
    expected = 1 / (1 + np.exp(-design @ beta))
    by_item = dict(zip(table["item_id"], expected, strict=True))
    found = predictions.set_index("item_id")["p1"]
    assert np.abs(found - found.index.map(by_item)).max() < 2e-3


def test_penalty_is_the_one_with_the_best_validation_score_and_ties_go_to_the_lower_cross_entropy():
    table, random = cohort(120)
    features = features_for(table, random, strength=0.7, dimensions=40)
    grid = Frozen(l2=[100.0, 1e-3, 1.0])
    predictions, selection = probe(lambda seed: features, table, {1.0: everyone(table)}, TASK, "m", grid, [0])
    assert selection["l2"].tolist() == [1000.0, 1.0, 0.01]
    chosen = selection.loc[selection["chosen"]]
    assert len(chosen) == 1
    assert chosen["validation_score"].item() == selection["validation_score"].max()
    validation = predictions[predictions["split"] == "validation"]
    assert chosen["validation_score"].item() == pytest.approx(roc_auc_score(validation["label"], validation["p1"]))
    perfect = np.c_[table["bleed"].to_numpy(), np.zeros(len(table))]
    _, tied = probe(lambda seed: perfect, table, {1.0: everyone(table)}, TASK, "m", grid, [0])
    assert tied.loc[tied["chosen"], "candidate"].item() == "C=100"


def test_test_images_and_unlabelled_patients_change_nothing():
    table, random = cohort()
    features = features_for(table, random)
    few = pd.DataFrame({"seed": 0, "patient_id": ["p000", "p001", "p010", "p011"]})
    first, _ = probe(lambda seed: features, table, {0.1: few}, TASK, "m", Frozen(), [0])
    shaken = features.copy()
    other = ~table["patient_id"].isin(few["patient_id"]) & (table["split"] != "validation")
    shaken[other] *= 100
    second, _ = probe(lambda seed: shaken, table, {0.1: few}, TASK, "m", Frozen(), [0])
    on_validation = first["split"] == "validation"
    assert first.loc[on_validation, "p1"].equals(second.loc[on_validation, "p1"])
    assert not first.loc[~on_validation, "p1"].equals(second.loc[~on_validation, "p1"])


def test_from_scratch_gets_the_features_of_its_seed():
    table, random = cohort()
    per_seed = {seed: features_for(table, random) for seed in (3, 4)}
    fractions = {1.0: everyone(table, (3, 4))}
    predictions, selection = probe(per_seed.__getitem__, table, fractions, TASK, "from_scratch", Frozen(), [3, 4])
    a, b = (predictions.loc[predictions["seed"] == seed, "p1"].to_numpy() for seed in (3, 4))
    assert not np.allclose(a, b)
    assert selection.groupby("seed")["chosen"].sum().tolist() == [1, 1]


def test_tables_have_the_contract_columns_and_probabilities_sum_to_one():
    table, random = cohort(90)
    features = features_for(table, random, "kind")
    table.loc[0, "kind"] = np.nan
    predictions, selection = probe(lambda s: features, table, {1.0: everyone(table)}, THREE, "m", Frozen(), [0])
    ids = ["item_id", "series_id", "patient_id", "label"]
    assert list(predictions) == ["method", "schedule", "fraction", "seed", "split", *ids, "p0", "p1", "p2"]
    assert list(selection) == [
        *("method", "schedule", "fraction", "seed", "candidate", "learning_rate", "l2", "updates"),
        *("validation_score", "chosen", "labelled_patients", "labelled_images"),
    ]
    assert np.allclose(predictions[["p0", "p1", "p2"]].sum(axis=1), 1)
    assert set(predictions["split"]) == {"validation", "test"}
    assert selection["labelled_images"].tolist() == [2 * 54 - 1] * 3
    assert selection["labelled_patients"].tolist() == [54] * 3


def test_selection_score_equals_scikit_learn():
    random = np.random.default_rng(0)
    labels = np.arange(300) % 3
    probabilities = random.dirichlet(np.ones(3), 300).round(2)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    expected = roc_auc_score(labels, probabilities, multi_class="ovr")
    assert selection_score(labels, probabilities) == pytest.approx(expected, abs=1e-12)


def test_a_test_patient_among_the_labelled_is_an_error():
    table, _ = cohort()
    with pytest.raises(ValueError, match="1 labelled patients are not training patients, first: p008"):
        labelled_rows(table, TASK, ["p000", "p008"])


def test_a_patient_in_two_splits_is_an_error():
    table, _ = cohort()
    table.loc[0, "split"] = "test"
    with pytest.raises(ValueError, match="patient p000 is in more than one split"):
        labelled_rows(table, TASK, ["p001"])


def test_a_class_without_labelled_images_is_an_error():
    table, _ = cohort()
    with pytest.raises(ValueError, match="label 'bleed': no train image of class yes"):
        labelled_rows(table, TASK, ["p000", "p001"])
    table.loc[(table["split"] == "validation") & (table["bleed"] == 0), "bleed"] = np.nan
    with pytest.raises(ValueError, match="no validation image of class no"):
        labelled_rows(table, TASK, ["p000", "p011"])


def test_labels_that_are_no_class_are_an_error():
    table, _ = cohort()
    with pytest.raises(ValueError, match=r"'kind' has the value 2; classes are 0\.\.1"):
        labelled_rows(table, Task("kind", ("a", "b"), "binary"), ["p000", "p011"])
    with pytest.raises(ValueError, match="no label 'blood'"):
        labelled_rows(table, Task("blood", ("a", "b"), "binary"), ["p000"])


def test_a_seed_without_patients_and_impossible_tasks_are_errors():
    with pytest.raises(ValueError, match="no patient for seed 7"):
        patients_of(pd.DataFrame({"seed": [0], "patient_id": ["p"]}), 7)
    with pytest.raises(ValueError, match="binary label 'x' has 3 classes"):
        Task("x", ("a", "b", "c"), "binary")
    with pytest.raises(ValueError, match="kind 'ordinal'"):
        Task("x", ("a", "b"), "ordinal")
    assert Arm("from_scratch", "resnet", None).encoder_file is None


def test_features_that_are_not_finite_are_an_error():
    table, random = cohort()
    features = features_for(table, random)
    features[3, 1] = np.nan
    with pytest.raises(ValueError, match="must be finite"):
        probe(lambda seed: features, table, {1.0: everyone(table)}, TASK, "m", Frozen(), [0])


def test_three_fractions_and_three_seeds_on_2000_images_take_less_than_a_minute():
    """The promise of the frozen arm (measured about 5 s on 2 cores with 256 features)."""
    table, random = cohort(1000)
    features = features_for(table, random, strength=0.5, dimensions=256)
    full = everyone(table, (0, 1, 2))
    fractions = {f: full.groupby("seed").head(int(600 * f)) for f in (0.05, 0.2, 1.0)}
    start = time.perf_counter()
    probe(lambda seed: features, table, fractions, TASK, "m", Frozen(), [0, 1, 2])
    assert time.perf_counter() - start < 60

"""Every method at rank 2 and 3, whoever adds it: it is what it says, it learns, it resumes, it repeats.

What is asserted here of the numbers was measured once per method and rank by method_trials.py. That a loss is the
published one is for tests/library/methods/: one file per method, checked to be there.
"""

import re
from pathlib import Path

import method_trials as trials
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import binom

from scanloom import plugins
from scanloom.schedules import cosine, learning_rates
from scanloom.training.backend import make_deterministic
from scanloom.training.training_loop import train_steps

METHODS = plugins.names("methods")
TRAINING = [name for name in METHODS if plugins.load("methods", name).TRAINS]
RANKS = {name: getattr(plugins.load("methods", name), "RANKS", (2, 3)) for name in METHODS}
each_trained = pytest.mark.parametrize(
    ("name", "rank"),
    [(name, rank) for name in TRAINING for rank in RANKS[name]] + [(case, 2) for case in trials.VARIANTS],
)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_says_what_it_is(name):
    module = plugins.load("methods", name)
    assert isinstance(module.TRAINS, bool)
    assert isinstance(module.USES_LABELS, bool)
    assert isinstance(module.FRESH_PER_SEED, bool)
    assert (module.BRANCHES > 0) == module.TRAINS
    assert not (module.FRESH_PER_SEED and module.TRAINS)
    assert set(RANKS[name]) <= {2, 3}
    assert hasattr(module, "build") is module.TRAINS
    assert hasattr(module, "prepare") is not (module.TRAINS or module.FRESH_PER_SEED), "who fills the encoder?"
    assert module.Settings.model_config["extra"] == "forbid"
    assert module.Settings.model_config["frozen"] is True
    assert all(field.description for field in module.Settings.model_fields.values())
    if module.USES_LABELS:
        assert "label" in module.Settings.model_fields
        assert "uses labels" in module.__doc__.splitlines()[0]
    if module.TRAINS:
        assert "L = " in module.__doc__, "the docstring states the loss as a formula"


@each_trained
def test_the_loss_is_finite_and_every_weight_of_the_encoder_gets_a_gradient(name, rank):
    found = trials.measured(name, rank)
    assert found.keeps_encoder, "the model's encoder is the one it was given"
    reached = set()
    for step in found.first.values():
        assert np.isfinite(step.loss)
        assert all(np.isfinite(gradient).all() for gradient in step.gradients.values())
        reached |= {path for path, gradient in step.gradients.items() if np.abs(gradient).max() > 0}
    assert set(found.encoder_weights) <= reached


@each_trained
def test_every_player_lowers_its_loss_while_the_others_stand_still(name, rank):
    for player, losses in trials.measured(name, rank).repeated.items():
        assert np.isfinite(losses).all(), player
        assert min(losses[-3:]) < losses[0], player


@each_trained
def test_the_seed_decides_the_first_weights_and_nothing_else_does(name, rank):
    found = trials.measured(name, rank)
    assert _same(found.start, found.start_again)
    assert not _same(found.start, found.start_of_other_seed)


@each_trained
def test_a_training_resumed_from_its_checkpoint_reaches_the_same_bits(name, rank):
    (losses, end), (losses_again, end_again) = (getattr(trials.measured(name, rank), w) for w in ("whole", "resumed"))
    assert losses == losses_again
    assert _same(end, end_again)
    assert np.isfinite(losses).all()


@each_trained
def test_the_saved_encoder_gives_the_same_features_which_tell_the_kinds_of_a_toy_apart(name, rank):
    found = trials.measured(name, rank)
    assert np.array_equal(found.features, found.features_of_saved)
    assert found.features.dtype == np.float32
    # Guessing does better in one case of a hundred only; some methods are hardly above random features so early.
    by_chance = binom.isf(0.01, len(found.kinds), 1 / trials.KINDS)
    assert (_by_nearest_neighbours(found.features, found.kinds) == found.kinds).sum() > by_chance


def test_every_method_has_a_test_of_its_own(root):
    texts = "\n".join(path.read_text() for path in (root / "tests" / "library" / "methods").glob("test_*.py"))
    imported = r"scanloom\.methods(\.| import [\w,\s(]*\b){}\b"
    assert [name for name in TRAINING if not re.search(imported.format(name), texts)] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TRAINING if 2 in RANKS[name]])
def test_a_killed_training_goes_on_in_a_new_model_to_the_same_bits(name, tmp_path):
    make_deterministic()
    rate, ends = learning_rates(cosine, cosine.Settings(), trials.RATE, trials.UPDATES), []
    for folder, stop_first in (("whole", False), ("killed", True)):
        if stop_first:
            with pytest.raises(KeyboardInterrupt):
                _train(name, rate, tmp_path / folder, stop_at=2 * trials.SAVED_AT - 1)
        model, history = _train(name, rate, tmp_path / folder)
        ends.append((trials.state(model), list(history["loss"])))
    assert ends[0][1] == ends[1][1]
    assert _same(ends[0][0], ends[1][0])


def _train(name: str, rate, folder: Path, stop_at: int | None = None):
    """A new model trained in this folder, or on from its checkpoint."""

    def batch_at(step: int) -> dict:
        if step == stop_at:
            raise KeyboardInterrupt
        return trials.batch_at(name, 2, step)

    model, _ = trials.make(name, 2)
    saved = {"checkpoint_folder": folder, "checkpoint_every": trials.SAVED_AT}
    return model, train_steps(model, batch_at, rate, trials.UPDATES, interval=4, **saved)


def _same(some: list[np.ndarray], others: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def _by_nearest_neighbours(features: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """For each image the most frequent kind of the 5 images whose features are nearest, without its own."""
    distances = cdist(features, features)
    np.fill_diagonal(distances, np.inf)
    votes = kinds[np.argsort(distances, axis=1, kind="stable")[:, :5]]
    return np.argmax([(votes == kind).sum(axis=1) for kind in range(trials.KINDS)], axis=0)

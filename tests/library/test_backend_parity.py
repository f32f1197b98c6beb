"""TensorFlow and JAX make the same views, losses and gradients, of every method; with JAX nothing needs TensorFlow.

SCANLOOM_JAX_PYTHON names the interpreter of the JAX-only environment (default: .venv-jax/bin/python).
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import method_trials
import numpy as np
import parity_steps
import pytest
import tiny_corpus
import training_options
import two_players
import views_everywhere

from scanloom import plugins
from scanloom.images.intensity import to_unit
from scanloom.pretraining import monitors

METHODS = {name: plugins.load("methods", name) for name in plugins.names("methods")}
TRAINING = [
    pytest.param(name, rank, marks=pytest.mark.slow if rank == 3 else ())
    for name, module in METHODS.items()
    for rank in getattr(module, "RANKS", (2, 3))
    if module.TRAINS
] + [pytest.param(case, 2) for case in method_trials.VARIANTS]


@pytest.fixture(scope="module")
def jax_python(root):
    python = Path(os.environ.get("SCANLOOM_JAX_PYTHON", root / ".venv-jax" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no JAX-only environment at {python} (set SCANLOOM_JAX_PYTHON, or `uv sync --group jax-only`)")
    if keras.backend.backend() != "tensorflow":
        pytest.skip(f"parity is TensorFlow against JAX; this process runs {keras.backend.backend()}")

    def run(script, *arguments, **variables):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root), **variables}
        command = [str(python), script.__file__, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


def test_two_steps_agree_in_views_losses_and_gradients(jax_python, tmp_path):
    given = parity_steps.given_inputs()
    np.savez(tmp_path / "in.npz", **given)
    jax_python(parity_steps, tmp_path / "in.npz", tmp_path / "out.npz")
    ours, theirs = parity_steps.run(given), dict(np.load(tmp_path / "out.npz"))
    for branch in range(2):
        assert np.abs(ours[f"view{branch}"] - theirs[f"view{branch}"]).max() < 1e-5
    for step in range(2):
        assert np.isclose(ours[f"loss{step}"], theirs[f"loss{step}"], rtol=1e-4)
    trained = 0
    for name in (n for n in ours if n.startswith("step0_")):
        start = given[name.replace("step0_", "weight")]
        a, b = ((found[name].astype(np.float64) - start) / parity_steps.RATE for found in (ours, theirs))
        trained += np.linalg.norm(a) > 0
        # Weights are float32, so their difference is known to one part in 10^7 of the weight, divided by the rate.
        rounding = 2e-7 * np.linalg.norm(start) / parity_steps.RATE
        assert np.linalg.norm(a - b) < 1e-4 * np.linalg.norm(a) + rounding, name
    assert trained > 30


def test_options_of_training_give_the_same_history(jax_python, tmp_path):
    """Layer-wise steps, parts of batches, averaged weights, clipping, the best encoder kept, timing without input."""
    theirs = json.loads(jax_python(training_options, tmp_path / "jax").splitlines()[-1])
    ours = training_options.run(tmp_path / "tensorflow")
    for column, values in ours.items():
        assert np.allclose(values, theirs[column], rtol=2e-3), column


def test_every_view_is_the_same_eager_in_tensorflow_and_compiled_in_jax(jax_python, tmp_path):
    jax_python(views_everywhere, tmp_path / "views.npz")
    ours, theirs = views_everywhere.run(), np.load(tmp_path / "views.npz")
    for name, images in ours.items():
        assert np.abs(images - theirs[name]).max() < 1e-5, name
        assert images.std() > 0.05, "something is left to compare"


@pytest.fixture(scope="module")
def first_steps_of_jax(jax_python, tmp_path_factory):
    """rank -> what method_trials.py writes of every method, all in one process."""
    folder = tmp_path_factory.mktemp("jax")

    @functools.cache
    def of_rank(rank: int) -> dict[str, np.ndarray]:
        # Each model makes one update: compiling it three times faster matters more than how fast it runs.
        quickly = "--xla_backend_optimization_level=0"
        names = [case.values[0] for case in TRAINING if case.values[1] == rank]
        jax_python(method_trials, folder / f"{rank}.npz", rank, *names, XLA_FLAGS=quickly)
        return dict(np.load(folder / f"{rank}.npz"))

    return of_rank


@pytest.mark.parametrize(("name", "rank"), TRAINING)
def test_every_methods_first_step_agrees_in_loss_and_gradients(first_steps_of_jax, name, rank):
    theirs = {key: value for key, value in first_steps_of_jax(rank).items() if key.startswith(name + " ")}
    assert f"{name} error" not in theirs, str(theirs[f"{name} error"])
    steps = method_trials.measured(name, rank).first
    assert len(theirs) == sum(1 + len(step.gradients) for step in steps.values())
    for player, step in steps.items():
        assert np.isclose(step.loss, theirs[f"{name} {player} loss"], rtol=1e-5, atol=1e-6)
        total = np.sqrt(sum(np.sum(np.square(gradient)) for gradient in step.gradients.values()))
        for i, (path, ours) in enumerate(step.gradients.items()):
            # Gradients that are zero but for rounding, as those of biases before a normalisation, have no direction.
            difference = np.linalg.norm(ours - theirs[f"{name} {player} {i:03d}"])
            assert difference < 1e-4 * np.linalg.norm(ours) + 1e-6 * total, f"{player} {path}"


def test_players_take_the_same_turns_and_resume_to_the_same_bits(jax_python, tmp_path):
    jax_python(two_players, tmp_path / "out.npz")
    ours, theirs = two_players.run(), dict(np.load(tmp_path / "out.npz"))
    assert set(ours) == set(theirs)
    assert all(np.allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-7) for name in ours)
    assert np.array_equal(theirs["resumed"], theirs[f"weights{two_players.UPDATES}"])


def test_a_whole_pretraining_runs_with_jax_alone(jax_python, tmp_path):
    about = json.loads(jax_python(tiny_corpus, "barlow_twins", tmp_path / "run").splitlines()[-1])
    assert about["backend"] == "jax"
    loaded = keras.saving.load_model(tmp_path / "run" / "encoder.keras")
    features = loaded.predict_on_batch(to_unit(tiny_corpus.TinyCorpus().images(np.arange(16))))
    assert monitors.rankme(np.asarray(features)) > 1
    assert "jax" not in sys.modules

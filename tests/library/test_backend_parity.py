"""TensorFlow and JAX make the same views, losses and gradients; with JAX nothing needs TensorFlow.

SCANLOOM_JAX_PYTHON names the interpreter of the JAX-only environment (default: .venv-jax/bin/python).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import parity_steps
import pytest
import tiny_corpus

from scanloom import pretraining


@pytest.fixture(scope="module")
def jax_python(root):
    python = Path(os.environ.get("SCANLOOM_JAX_PYTHON", root / ".venv-jax" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no JAX-only environment at {python} (set SCANLOOM_JAX_PYTHON, or `uv sync --group jax-only`)")
    if keras.backend.backend() != "tensorflow":
        pytest.skip(f"parity is TensorFlow against JAX; this process runs {keras.backend.backend()}")

    def run(script, *arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        environment |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
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


def test_a_whole_pretraining_runs_with_jax_alone(jax_python, tmp_path):
    about = json.loads(jax_python(tiny_corpus, "barlow_twins", tmp_path / "run").splitlines()[-1])
    assert about["backend"] == "jax"
    assert about["jit"]["jit_compile"] is True
    loaded = keras.saving.load_model(tmp_path / "run" / "encoder.keras")
    features = pretraining.monitor(loaded, [tiny_corpus.TinyCorpus().images(np.arange(16))])
    assert features["rankme"] > 1
    assert "jax" not in sys.modules

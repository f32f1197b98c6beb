"""Every method's loss under 16-bit layers: float32, finite, and near what 32-bit layers give."""

import keras
import method_trials as trials
import numpy as np
import pytest

from scanloom import plugins
from scanloom.optimizers import players_of
from scanloom.pretraining.method_training import precision as computing_in

TRAINING = [name for name in plugins.names("methods") if plugins.load("methods", name).TRAINS]


def losses(name: str, rank: int, precision: str) -> list[float]:
    """Each player's loss of the first batch, computed without a graph."""
    with computing_in(precision):
        model, _ = trials.make(name, rank)
    batch, found = trials.batch_at(name, rank, 0), []
    for player in players_of(model):
        loss = player.compute_loss(x=batch, y_pred=player(batch, training=True))
        assert keras.backend.standardize_dtype(loss.dtype) == "float32"
        found.append(float(loss))
    return found


@pytest.mark.parametrize("name", TRAINING)
def test_losses_are_float32_and_close_under_bfloat16(name):
    rank = getattr(plugins.load("methods", name), "RANKS", (2, 3))[0]
    low, full = losses(name, rank, "bfloat16"), losses(name, rank, "float32")
    assert np.isfinite(low).all()
    # bfloat16 has 8 bits: a percent or so after some layers; small losses may differ by more of themselves.
    assert np.allclose(low, full, rtol=0.1, atol=0.1)

"""SimSiam: the embedding of one view predicts that of the other, whose gradient is stopped.

BYOL without the moving copy: both branches are the same network, and stopping the gradient of the predicted side is
what keeps the embedding from collapsing.

    L = - <p1, stop(z2)> / (|p1| |z2|) / 2 - <p2, stop(z1)> / (|p2| |z1|) / 2

Chen & He, CVPR 2021, arXiv 2011.10566, equations 1 to 4. The predictor is a bottleneck, as there.
"""

from pydantic import Field

from scanloom.lazy import keras
from scanloom.methods._projector import projector, unit_length
from scanloom.strict_models import Strict

TRAINS = True
USES_LABELS = False
FRESH_PER_SEED = False
BRANCHES = 2


class Settings(Strict):
    """Projector and predictor."""

    projector: tuple[int, ...] = Field((512, 512), min_length=1, description="layer sizes; the last is the embedding")
    predictor: int = Field(128, ge=1, description="hidden layer size of the predictor; a quarter of the embedding")


def build(encoder, settings: Settings, views, seed: int, classes: int | None = None):
    """The model to train; its inputs are described in scanloom/pretraining/view_model.py."""
    from scanloom.pretraining.view_model import ViewModel
    from scanloom.training.initial_weights import initialise

    size = settings.projector[-1]
    inner = projector(encoder.output.shape[-1], settings.projector, seed)
    predictor = projector(size, (settings.predictor, size), seed, name="predictor")
    features = keras.Input((encoder.output.shape[-1],), name="features")
    # Normalising the embedding is the paper's last projector layer; without it the network collapses.
    norm = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, center=False, scale=False, name="embedding_norm")
    embedding = norm(inner(features))
    head = initialise(keras.Model(features, [embedding, predictor(embedding)], name="head"), seed)

    def loss(outputs, batch):
        (z1, p1), (z2, p2) = outputs
        return (negative_cosine(p1, z2) + negative_cosine(p2, z1)) / 2.0

    return ViewModel(encoder, head, views, BRANCHES, loss)


def negative_cosine(prediction, target):
    """Minus the mean cosine of predictions [batch, D] and targets [batch, D], the latter without gradient."""
    ops = keras.ops
    return -ops.mean(ops.sum(unit_length(prediction) * ops.stop_gradient(unit_length(target)), axis=-1))

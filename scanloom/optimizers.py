"""The optimizer of every training here."""

from scanloom.lazy import keras


def adamw(model, weight_decay: float, clip_norm: float | None = None):
    """AdamW for `model`, decaying kernels only; the learning rate is set by the training loop at each update.

    Biases and the scales and offsets of normalisations (all variables with fewer than two axes) do not decay: pulling
    a normalisation's scale towards zero changes the function, not its complexity (Loshchilov & Hutter, arXiv
    1711.05101; the reference Barlow Twins code does the same).
    """
    optimizer = keras.optimizers.AdamW(learning_rate=0.0, weight_decay=weight_decay, global_clipnorm=clip_norm)
    optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) < 2])
    return optimizer


def players_of(model) -> list:
    """The Keras models that are compiled and updated: the players of an `Alternating`, or the model itself."""
    return getattr(model, "players", [model])

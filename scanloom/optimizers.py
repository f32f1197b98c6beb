"""The optimizer of every training here."""

from scanloom.lazy import keras


def adamw(model, weight_decay: float, clip_norm: float | None = None):
    """AdamW for `model`, decaying kernels only; the learning rate is set by the training loop at each update.

    Biases and the scales and offsets of normalisations (all variables with fewer than two axes) do not decay: pulling
    a normalisation's scale towards zero changes the function, not its complexity (Loshchilov & Hutter, arXiv
    1711.05101; the reference Barlow Twins code does the same). A player may have momenta of its own (`adam_betas`).
    """
    beta_1, beta_2 = getattr(model, "adam_betas", (0.9, 0.999))
    optimizer = keras.optimizers.AdamW(
        learning_rate=0.0, weight_decay=weight_decay, beta_1=beta_1, beta_2=beta_2, global_clipnorm=clip_norm
    )
    optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) < 2])
    return optimizer


def players_of(model) -> list:
    """The Keras models that are compiled and updated: the players of an `Alternating`, or the model itself."""
    return getattr(model, "players", [model])

"""Optimizers, one file each, and what all of them share: what decays, clipping, averaging, accumulation, loss scaling.

A plug-in has `Settings` and `make(settings, weight_decay, shared) -> keras.Optimizer`, where `shared` are arguments of
every Keras optimizer. The learning rate is set by the training loop at each update.
"""

import numpy as np

from scanloom.lazy import keras


def players_of(model) -> list:
    """The Keras models that are compiled and updated: the players of an `Alternating`, or the model itself."""
    return getattr(model, "players", [model])


def optimizer_of(
    model,
    plugin,
    settings,
    weight_decay: float,
    *,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    ema_momentum: float | None = None,
    micro_batches: int = 1,
    scale_loss: bool = False,
):
    """The optimizer of the plug-in module for `model`, decaying kernels only.

    Biases and the scales and offsets of normalisations (all variables with fewer than two axes) do not decay: pulling
    a normalisation's scale towards zero changes the function, not its complexity (Loshchilov & Hutter, arXiv
    1711.05101; the reference Barlow Twins code does the same).

    A player may have momenta of its own (`adam_betas`), which then count for optimizers that have two.

    clip_norm, clip_value: largest norm of all gradients together, largest single number in them; one of the two.
    ema_momentum: keep a moving average of the weights, see `averages_of`. micro_batches: calls whose mean gradient is
    one update. scale_loss: dynamic loss scaling, which float16 needs (Micikevicius et al., arXiv 1710.03740, 3.2).
    """
    if clip_norm is not None and clip_value is not None:
        raise ValueError(f"clip_norm ({clip_norm:g}) and clip_value ({clip_value:g}) exclude each other; choose one")
    shared = {
        "learning_rate": 0.0,
        "global_clipnorm": clip_norm,
        "clipvalue": clip_value,
        "gradient_accumulation_steps": micro_batches if micro_batches > 1 else None,
    }
    if ema_momentum is not None:
        shared |= {"use_ema": True, "ema_momentum": ema_momentum}
    if hasattr(model, "adam_betas") and hasattr(settings, "beta_1"):
        settings = settings.model_copy(update=dict(zip(("beta_1", "beta_2"), model.adam_betas, strict=True)))
    optimizer = plugin.make(settings, weight_decay, shared)
    if ema_momentum is not None and micro_batches > 1:
        _average_whole_updates(optimizer, micro_batches)
    optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if not is_kernel(v)])
    return keras.optimizers.LossScaleOptimizer(optimizer) if scale_loss else optimizer


def _average_whole_updates(optimizer, micro_batches: int) -> None:
    """Let the moving average move with the last micro-batch of an update: Keras moves it after each of them."""

    def average(variables) -> None:
        ends = keras.ops.equal((optimizer._iterations + 1) % micro_batches, 0)
        later = keras.ops.not_equal(optimizer.iterations, 0)  # the first update is the average, as in Keras
        for variable, kept in zip(variables, optimizer._model_variables_moving_average, strict=True):
            momentum = keras.ops.cast(later, variable.dtype) * optimizer.ema_momentum
            momentum = keras.ops.where(ends, momentum, keras.ops.ones_like(momentum))
            kept.assign(momentum * kept + (1.0 - momentum) * variable)

    optimizer._update_model_variables_moving_average = average


def is_kernel(variable) -> bool:
    """Whether weight decay and layer-wise steps are for this variable: not for scales and biases.

    Attention's biases have two axes, heads and numbers. Within an update TensorFlow shows its own variables, whose name
    is the whole path.
    """
    name = variable.name.partition(":")[0].rpartition("/")[2]
    return len(variable.shape) > 1 and name != "bias"


def begin_averages(model) -> None:
    """Let every moving average start at its weight: loss scaling may leave the first updates out."""
    for player in players_of(model):
        player.optimizer.build(player.trainable_variables)
    averages = averages_of(model)
    for variable in model.trainable_variables:
        averages[id(variable)].assign(copied(variable))


def copied(variable) -> np.ndarray:
    """The variable's values in memory of their own: a JAX update gives the memory of its variables away."""
    return np.array(keras.ops.convert_to_numpy(variable), copy=True)


def averages_of(model) -> dict[int, object]:
    """id of a trained variable -> the variable that holds its moving average; empty where none is kept.

    A variable that several players move has the average of the first of them.
    """
    found = {}
    for player in players_of(model):
        optimizer = getattr(player.optimizer, "inner_optimizer", player.optimizer)
        if optimizer.use_ema:
            averages = optimizer._model_variables_moving_average
            pairs = zip(player.trainable_variables, averages, strict=True)
            found = {id(variable): average for variable, average in pairs} | found
    return found

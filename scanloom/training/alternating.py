"""Trainings of several networks against or beside each other: players take turns, one player per update.

A player is a Keras model that sees all networks and moves the weights of its own only, with its own optimizer; the
updates of each are ordinary `train_on_batch` calls, so nothing here depends on the backend. Whose turn it is follows
from the update's number alone, so a resumed training goes on with the right player.
"""

import math
from collections.abc import Callable

import keras


class Player(keras.Model):
    """All networks as layers; those named in `trains` learn from `loss(outputs, batch)`.

    forward(networks, batch, training) -> outputs, any structure of tensors. Statistics of a normalisation change in
    whichever network is called with training=True, as they would in one big model.
    """

    def __init__(self, name: str, networks: dict, trains: list[str], forward: Callable, loss: Callable):
        # Under a mixed policy Keras would round what enters, random numbers too. The networks cast for themselves.
        super().__init__(name=name, dtype="float32")
        unknown = set(trains) - set(networks)
        if unknown:
            raise ValueError(f"player {name} trains {sorted(unknown)}, but the networks are {sorted(networks)}")
        self.networks = networks
        self._trains, self._forward, self._loss_of = list(trains), forward, loss
        self.built = True

    @property
    def trainable_variables(self):
        return [variable for name in self._trains for variable in self.networks[name].trainable_variables]

    @property
    def non_trainable_variables(self):
        own = {id(variable) for variable in self.trainable_variables}
        return [variable for variable in self.variables if id(variable) not in own]

    # Keras asks under both names: TensorFlow's trainer for weights, JAX's for variables.
    trainable_weights = trainable_variables
    non_trainable_weights = non_trainable_variables

    def call(self, inputs, training=False):
        return self._forward(self.networks, inputs, training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self._loss_of(y_pred, x)


class Alternating:
    """Players as one thing to train: what `train_steps`, checkpoints and monitors use of a model.

    turns: updates in a row of each player, for example (5, 1) for five critic steps before each generator step; each
    update has a batch of its own. learning_rate_factors: each player's share of the study's learning rate.
    """

    def __init__(
        self,
        encoder,
        players: list[Player],
        turns: tuple[int, ...] | None = None,
        learning_rate_factors: tuple[float, ...] | None = None,
    ):
        self.encoder, self.players, self.built = encoder, players, True
        turns = turns or (1,) * len(players)
        factors = learning_rate_factors or (1.0,) * len(players)
        if not len(turns) == len(factors) == len(players):
            raise ValueError(f"{len(players)} players, {len(turns)} turns, {len(factors)} learning-rate factors")
        self._order = [player for player, count in zip(players, turns, strict=True) for _ in range(count)]
        self.optimizer = _Optimizers(players, factors)

    @property
    def round(self) -> int:
        """Updates until every player has had its turns."""
        return len(self._order)

    @property
    def reported_names(self) -> list[str]:
        """Of all that the compiled players report, one of them at each update."""
        return [f"{player.name}_{metric.name}" for player in self.players for metric in player.metrics]

    @property
    def variables(self) -> list:
        """The variables of all networks, each once."""
        every = {id(variable): variable for player in self.players for variable in player.variables}
        return list(every.values())

    @property
    def trainable_variables(self) -> list:
        """What any of the players moves, each once."""
        every = {id(variable): variable for player in self.players for variable in player.trainable_variables}
        return list(every.values())

    def joint_loss(self, reported: dict[str, float]) -> float:
        """The mean loss of a round, from each player's mean; of those that had a turn.

        `loss` itself is that of whoever had the turn: its mean over some updates depends on whose turns they were.
        """
        losses = [(reported.get(f"{player.name}_loss", math.nan), self._order.count(player)) for player in self.players]
        known = [(loss, turns) for loss, turns in losses if not math.isnan(loss)]
        return sum(loss * turns for loss, turns in known) / sum(turns for _, turns in known)

    def train_on_batch(self, batch: dict, return_dict: bool = True) -> dict[str, float]:
        """One update of the player whose turn `batch["step"]` is; its loss also under its own name."""
        player = self._order[int(batch["step"][0]) % len(self._order)]
        logs = player.train_on_batch(batch, return_dict=return_dict)
        return {f"{player.name}_{name}": value for name, value in logs.items()} | {"loss": logs["loss"]}


class _Optimizers:
    """The players' optimizers under one learning rate."""

    def __init__(self, players: list[Player], factors: tuple[float, ...]):
        self._players, self._factors = players, factors

    @property
    def built(self) -> bool:
        return all(player.optimizer.built for player in self._players)

    def build(self, variables) -> None:
        for player in self._players:
            player.optimizer.build(player.trainable_variables)

    @property
    def variables(self) -> list:
        return [variable for player in self._players for variable in player.optimizer.variables]

    @property
    def learning_rate(self):
        return self._players[0].optimizer.learning_rate / self._factors[0]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        for player, factor in zip(self._players, self._factors, strict=True):
            player.optimizer.learning_rate = value * factor

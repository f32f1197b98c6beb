"""Update rules that Keras does not have: decay as part of the gradient, and steps as long as the layer's weights allow.

Importing this imports Keras, so plug-ins do it inside `make`. What is no kernel (biases, normalisations) is left out of
decay by `optimizer_of` and of layer-wise steps here, as in the reference code of SimCLR and Barlow Twins: their norms
say nothing about a sensible step.
"""

import keras
from keras import ops

from scanloom.optimizers import is_kernel


class _DecayInGradient:
    """L2 regularisation: weight_decay * w is added to the gradient, before momenta see it."""

    def _apply_weight_decay(self, variables):
        """Keras would shrink the weights here, apart from the gradient."""

    def _with_decay(self, gradient, variable):
        if self.weight_decay and self._use_weight_decay(variable):
            return gradient + ops.cast(self.weight_decay, variable.dtype) * variable
        return gradient


class SGD(_DecayInGradient, keras.optimizers.SGD):
    """Stochastic gradient descent with momentum on loss + L2."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(self._with_decay(gradient, variable), variable, learning_rate)


class Adam(_DecayInGradient, keras.optimizers.Adam):
    """Adam on loss + L2."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(self._with_decay(gradient, variable), variable, learning_rate)


class Lars(SGD):
    """You et al., arXiv 1708.03888, algorithm 1, with momentum m, trust eta and decay b:

    local = eta |w| / (|g| + b |w|)        v = m v + rate local (g + b w)        w = w - v
    """

    def __init__(self, trust: float, thin_rate: float, **shared):
        super().__init__(**shared)
        self.trust, self.thin_rate = trust, thin_rate

    def update_step(self, gradient, variable, learning_rate):
        if not is_kernel(variable):
            local = self.thin_rate
        else:
            decay = self.weight_decay if self._use_weight_decay(variable) else 0.0
            length = _norm(variable)
            local = _ratio(self.trust * length, _norm(gradient) + (decay or 0.0) * length)
        super().update_step(gradient, variable, ops.cast(learning_rate, variable.dtype) * local)


class Lamb(_DecayInGradient, keras.optimizers.Lamb):
    """You et al., arXiv 1904.00962, algorithm 2, with phi(x) = x:

    r = m' / (sqrt(v') + eps) + b w        w = w - rate |w| / |r| r        m', v': Adam's corrected moments
    """

    def update_step(self, gradient, variable, learning_rate):
        index, dtype = self._get_variable_index(variable), variable.dtype
        m, v = self._momentums[index], self._velocities[index]
        step = ops.cast(self.iterations + 1, dtype)
        self.assign(m, self.beta_1 * m + (1 - self.beta_1) * gradient)
        self.assign(v, self.beta_2 * v + (1 - self.beta_2) * ops.square(gradient))
        first = m / (1 - ops.power(ops.cast(self.beta_1, dtype), step))
        second = v / (1 - ops.power(ops.cast(self.beta_2, dtype), step))
        direction = self._with_decay(first / (ops.sqrt(second) + self.epsilon), variable)
        trust = _ratio(_norm(variable), _norm(direction)) if is_kernel(variable) else 1.0
        self.assign_sub(variable, ops.cast(learning_rate, dtype) * trust * direction)


def _norm(values):
    return ops.sqrt(ops.sum(ops.square(values)))


def _ratio(above, below):
    """above / below, and 1 where either is 0: new layers at zero must be able to leave it."""
    fine = ops.logical_and(above > 0, below > 0)
    return ops.where(fine, above / ops.where(fine, below, 1.0), 1.0)

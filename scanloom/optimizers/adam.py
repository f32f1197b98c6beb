"""Adam: steps of one size per weight; decay is L2 in the loss, so it is scaled like every gradient.

Kingma & Ba, ICLR 2015, arXiv 1412.6980, algorithm 1. For published settings that used it; GANs with beta_1 = 0.
"""

from scanloom.optimizers._moments import Moments


class Settings(Moments):
    """Moments."""


def make(settings: Settings, weight_decay: float, shared: dict):
    """The optimizer; shared: arguments of every Keras optimizer."""
    from scanloom.optimizers._update_rules import Adam

    return Adam(weight_decay=weight_decay, **settings.model_dump(), **shared)

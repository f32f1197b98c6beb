"""From scratch: no pretraining, the encoder's first weights are random.

The baseline of every gain: downstream it gets the same views, updates and choice of learning rates as a pretrained
encoder. There is no loss. Each repetition starts from its own random weights, as one lucky or unlucky draw would
otherwise decide every comparison.
"""

from scanloom.strict_models import Strict

TRAINS = False
USES_LABELS = False
FRESH_PER_SEED = True
BRANCHES = 0


class Settings(Strict):
    """Nothing to set."""

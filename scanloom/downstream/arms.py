"""Settings of the downstream arms.

They stand apart from `config.py`: a new key elsewhere in the study is no change of the code that trainings run on.
"""

from pydantic import Field

from scanloom.strict_models import Strict


class Frozen(Strict):
    """Linear probe on cached embeddings."""

    l2: list[float] = Field([0.01, 1.0, 100.0], min_length=1, description="candidates of the inverse L2 strength C")


class Finetuned(Strict):
    """Warm-up with a frozen encoder, then everything; the same for every method."""

    updates: int = Field(200, ge=1, description="updates after warm-up, equal at every fraction")
    warmup_updates: int = Field(40, ge=0, description="updates of the head alone")
    batch: int = Field(64, ge=2)
    learning_rates: list[float] = Field([1e-3], min_length=1, description="candidates, chosen on validation")
    weight_decay: float = Field(1e-4, ge=0)
    validate_every: int = Field(50, ge=1)
    balanced: bool = Field(True, description="weight classes by inverse frequency")

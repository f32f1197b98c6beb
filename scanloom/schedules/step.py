"""Step: the rate falls by a factor at given shares of the training (He et al., arXiv 1512.03385, section 4.2)."""

from pydantic import Field, field_validator

from scanloom.strict_models import Strict


class Settings(Strict):
    """When, and by how much."""

    at: tuple[float, ...] = Field((0.5, 0.75), min_length=1, description="shares of the updates after the warm-up")
    factor: float = Field(0.1, gt=0, lt=1, description="what the rate is multiplied by each time")

    @field_validator("at")
    @classmethod
    def _rising(cls, at: tuple[float, ...]) -> tuple[float, ...]:
        if list(at) != sorted(set(at)) or min(at) <= 0 or max(at) >= 1:
            raise ValueError("expected rising shares between 0 and 1, as in [0.5, 0.75]")
        return at


def share(settings: Settings, done: int, steps: int) -> float:
    """1, then factor, factor^2, ..."""
    return settings.factor ** sum(done >= at * steps for at in settings.at)

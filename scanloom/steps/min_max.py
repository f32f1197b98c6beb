"""The smallest to the largest value of a series, per channel, become 0 to 1.

For images whose values have no common unit (MR). One bright pixel sets the scale: `percentile` is usually better, and
where values mean the same in all images (CT, 8-bit pictures) use `hu_window` or `scale_range`.
"""

from pydantic import BaseModel, ConfigDict

from scanloom.readers._volume import Volume
from scanloom.steps._scale import inside, scaled


class Settings(BaseModel):
    """Nothing to set."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def apply(volume: Volume, settings: Settings) -> Volume:
    """The volume with values in [0, 1]; padding does not count, a constant channel becomes 0."""
    values = inside(volume)
    return scaled(volume, [float(v.min()) for v in values], [float(v.max()) for v in values])

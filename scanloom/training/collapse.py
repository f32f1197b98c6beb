"""Has the embedding collapsed, and what is the likely cause?

Pure functions of the history's rows. The limits stand between what healthy and what spoilt trainings showed:
`benchmarks/collapse_rule.py` makes both and its page has the numbers.
"""

import math

SETTLED = 32
"""Updates until statistics of normalisations (momentum 0.9) hold 3 % of their start; before, all looks collapsed."""
AVERAGED = 3.0
"""Spans of a moving average of weights (1 / (1 - momentum) updates) until it holds 5 % of its start."""
INTERVALS = 3
"""Rows in a row with the same sign."""
SMALLEST_SPREAD = 0.001
"""Of features, 1 being even. Far below that of projections: what a loss compares must be spread, but features of an
encoder without batch normalisation all point nearly one way and tell images apart all the same. Seen on chest X-rays
with a linear probe at 0.8 to 0.9: 0.014 (restoration, ViT), 0.0036 (WGAN-GP, its residual discriminator), 0.0025 (VAE,
LeNet)."""
SMALLEST_PROJECTION_SPREAD = 0.2
SMALLEST_OFF_CENTRE_SPREAD = 0.02
"""The same where the loss is against redundancy and finds little: it sees embeddings without their mean, so one far
from the origin is no collapse. Seen in healthy trainings with one linear layer as projector: 0.04 to 0.16."""
LARGEST_REDUNDANCY = 0.75
LARGEST_KEPT = 0.7
"""Share of the features' effective dimensions that is left in redundant projections. More, and it is the encoder whose
features vary in one or two ways, as all do early and small ones for long: nothing that the loss has spoilt."""
BETTER = 0.01
"""Change of spread or redundancy from the first to the last of INTERVALS rows that is a way out of the collapse."""
SHRUNK_SCALE, SHRUNK_SHARE = 0.15, 0.5
"""Standard deviation of projections, and its share of the first settled one."""
LARGEST_GAIN, MANY_DEAD = 3.0, 0.05
MOST_DEAD = 0.6

CAUSES = {
    "not finite": "features are not finite: the learning rate is too high for these weights or this precision; lower "
    "learning_rate, set clip_norm, or use precision: float32",
    "overshot": "kernels are {weight_gain:.3g} times as large as sensible ones and {dead_units:.0%} of the features "
    "never change: the learning rate is far too high, or there is no warm-up; lower learning_rate",
    "constant": "all images have the same features (spread {embedding_spread:.2g}, 1 being even): the loss can be "
    "lowered without looking at them, or the learning rate is too high",
    "point": "all images get nearly one embedding (spread {projection_spread:.2g} of projections, 1 being even): what "
    "forbids that is missing or too weak; check batch normalisation in the heads (BYOL, SimSiam), the variance or "
    "negatives of the loss, and that views are not so strong that nothing is common",
    "redundant": "the numbers of an embedding all say the same (correlation {projection_redundancy:.2f}): "
    "the term against redundancy is off or too weak; check off_diagonal_weight (lambda) or covariance",
    "shrunk": "projections shrink towards one point (standard deviation {projection_scale:.2g}): the loss falls by "
    "size instead of content; check the variance term and its weight",
    "dead": "{dead_units:.0%} of the features never change: the learning rate is too high or weight decay too strong",
}


def settled_after(ema_momentum: float | None) -> int:
    """Updates before which nothing is judged: a moving average of weights begins at weights nobody trained, too."""
    return SETTLED if ema_momentum is None else max(SETTLED, math.ceil(AVERAGED / (1 - ema_momentum)))


def signs(row: dict, decorrelates: bool, settled: int = SETTLED) -> list[str]:
    """Names of the signs of collapse in one row, gravest first; none before the network has settled.

    decorrelates: whether the loss has a term against redundancy. Without one (BYOL) healthy embeddings are redundant.
    settled: of `settled_after`.
    """
    if row["step"] < settled:
        return []
    if not math.isfinite(row["embedding_spread"]):
        return ["not finite"]
    spread = row.get("projection_spread", math.inf)
    redundant = decorrelates and row.get("projection_redundancy", 0.0) > LARGEST_REDUNDANCY
    least = SMALLEST_OFF_CENTRE_SPREAD if decorrelates and not redundant else SMALLEST_PROJECTION_SPREAD
    found = {
        "overshot": row["weight_gain"] > LARGEST_GAIN and row["dead_units"] > MANY_DEAD,
        "point": spread < least,
        "constant": row["embedding_spread"] < SMALLEST_SPREAD,
        "redundant": redundant and row.get("projection_kept", 0.0) < LARGEST_KEPT,
        "dead": row["dead_units"] > MOST_DEAD,
    }
    return [name for name, seen in found.items() if seen]


def collapsing(row: dict, decorrelates: bool, settled: int = SETTLED) -> bool:
    """Whether a row of the history shows any sign."""
    return bool(signs(row, decorrelates, settled))


def lasting_collapse(rows: list[dict], decorrelates: bool, settled: int = SETTLED) -> str | None:
    """The likely cause, with its evidence, where the last rows share a sign; else None.

    Losses against redundancy begin with redundant embeddings and undo that: of these a sign counts that does not fade.
    """
    last = rows[-INTERVALS:]
    if len(last) < INTERVALS:
        return None
    seen = [signs(row, decorrelates, settled) for row in last]
    common = [name for name in seen[-1] if all(name in others for others in seen)]
    if decorrelates:
        common = [name for name in common if not _fades(name, last)]
    if not common and all(_shrunk(rows, row, settled) for row in last):
        common = ["shrunk"]
    if not common:
        return None
    return f"collapse: {CAUSES[common[0]].format(**last[-1])}"


def _fades(sign: str, last: list[dict]) -> bool:
    if sign == "point":
        return last[-1]["projection_spread"] - last[0]["projection_spread"] > BETTER
    return sign == "redundant" and last[0]["projection_redundancy"] - last[-1]["projection_redundancy"] > BETTER


def _shrunk(rows: list[dict], row: dict, settled: int) -> bool:
    scale = row.get("projection_scale", math.inf)
    first = next((r["projection_scale"] for r in rows if r["step"] >= settled and "projection_scale" in r), 0.0)
    return row["step"] >= settled and scale < SHRUNK_SCALE and scale < SHRUNK_SHARE * first

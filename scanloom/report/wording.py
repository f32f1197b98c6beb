"""How numbers and names are written in the report: one form each, so that they compare at a glance."""

import math

from scanloom import plugins
from scanloom.downstream.verdict import spoken_p

NOTHING = "–"
UPPER = {"vae": "VAE", "mae": "MAE", "byol": "BYOL", "ct": "CT", "mr": "MR", "auroc": "AUROC", "auprc": "AUPRC"}
TONE_OF_FINDING = {
    "evidence for": "good",
    "evidence against": "bad",
    "no evidence": "open",
    "not testable": "none",
}


def missing(value) -> bool:
    """Whether a value is None or not a number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value, digits: int = 3) -> str:
    """`0.912`; a dash where there is no value."""
    return NOTHING if missing(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value, digits: int = 3) -> str:
    """`+0.041` or `−0.012`; what rounds to zero has no sign."""
    if missing(value):
        return NOTHING
    text = f"{value:+.{digits}f}".replace("-", "−")
    return text if any(digit in "123456789" for digit in text) else text[1:]


def interval(value, low, high, digits: int = 3) -> str:
    """`0.912 (0.880 to 0.941)`."""
    if missing(value):
        return NOTHING
    return number(value, digits) if missing(low) else f"{number(value, digits)} {bounds(low, high, digits)}"


def bounds(low, high, digits: int = 3) -> str:
    """`(0.880 to 0.941)`."""
    return NOTHING if missing(low) else f"({number(low, digits)} to {number(high, digits)})"


def count(value) -> str:
    """`12,345`."""
    return NOTHING if missing(value) else f"{round(value):,}"


def percent(share, digits: int = 0) -> str:
    """`1 %` of 0.01; small shares keep the digit that says something (`0.5 %`)."""
    if missing(share):
        return NOTHING
    hundred = 100 * share
    return f"{hundred:.{max(digits, 1) if 0 < hundred < 1 else digits}f} %"


def fraction(value) -> str:
    """A label fraction as a percentage without trailing zeros: `0.1 %`, `1 %`, `100 %`."""
    return f"{100 * value:g} %"


def p_value(value) -> str:
    """`0.012`, `< 0.001`."""
    if missing(value):
        return NOTHING
    return spoken_p(value)


def duration(seconds) -> str:
    """`42 s`, `3 min 20 s`, `2 h 05 min`."""
    if missing(seconds):
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def megabytes(value, digits: int = 1) -> str:
    """`820 MB`, `2.1 GB`."""
    if missing(value):
        return NOTHING
    return f"{value / 1000:.{digits}f} GB" if value >= 1000 else f"{value:.0f} MB"


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def plural(number: int, noun: str) -> str:
    """`1 pair`, `2 pairs`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def title(name: str) -> str:
    """A name of the config as words: `from_scratch` -> `From scratch`."""
    words = name.replace("_", " ").split()
    words = [UPPER.get(word, word) for word in words]
    return capital(" ".join(words))


def metric(name: str) -> str:
    """The metric's own title."""
    try:
        return plugins.load("metrics", name).NAME
    except plugins.UnknownPlugin:
        return title(name)


def higher_is_better(name: str) -> bool:
    """Whether more of the metric is better; an error for metrics that have no file."""
    return plugins.load("metrics", name).HIGHER_IS_BETTER


def cut(text: str, length: int) -> str:
    """The text, or as much of it as fits and an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def short(pseudonym: str) -> str:
    """The first eight digits of a pseudonym and the slice number: enough to find the case again."""
    series, _, index = str(pseudonym).partition("-")
    return f"{series[:8]}-{index}" if index else series[:8]

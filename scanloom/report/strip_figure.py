"""One case as read, after every step, and as stored, side by side, each with what its grey values mean."""

import textwrap

import numpy as np

from scanloom.report import figure_style
from scanloom.report.figure_style import INK, MUTED, RULE
from scanloom.report.section import Panel

# Inches. The width is that of the page's text; words are as large as its captions.
WIDTH, GAP, LARGEST = 8.6, 0.14, 1.35
TITLE, NAME_LINE, SETTING_LINE, HISTOGRAM, WORDS = 0.3, 0.14, 0.13, 0.24, 0.56
BOLD_CHARACTER, CHARACTER = 0.072, 0.061
SMALL = 8


def strip_panel(name: str, title: str, sheet: dict[str, np.ndarray], case: int) -> Panel:
    """The strip of one followed case of a contact sheet (see contact_sheet.strips_of); `title` says which case."""
    stages, rows = sheet["strips"].shape[1:3]
    column = WIDTH / stages
    side = min(column - GAP, LARGEST)
    heads = [_head(sheet, t, column - GAP) for t in range(stages)]
    first = TITLE + NAME_LINE * max(len(names) for names, _ in heads) + 0.06
    first += SETTING_LINE * max(len(settings) for _, settings in heads)
    row = side + HISTOGRAM + WORDS
    height = first + rows * row

    def draw(axes) -> None:
        axes.figure.set_layout_engine("none")
        axes.set_position((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(height, 0))
        axes.axis("off")
        axes.text(0, 0.1, title, fontsize=9, fontweight="bold", va="center")
        for t, (names, settings) in enumerate(heads):
            left = t * column
            axes.text(left, TITLE, "\n".join(names), fontsize=8.5, fontweight="bold", va="top", color=INK)
            under = TITLE + NAME_LINE * len(names) + 0.02
            axes.text(left, under, "\n".join(settings), fontsize=SMALL - 0.5, va="top", color=MUTED, linespacing=1.1)
            if t + 1 < stages:
                between = left + (column + side) / 2
                axes.text(between, first + side / 2, "›", color=MUTED, ha="center", va="center")
            for r in range(rows):
                if sheet["strip_channels"][t, r]:
                    _tile(axes, left, first + r * row, side, height, sheet, (case, t, r))

    alt = f"{title}: pictures and histograms, {', then '.join(map(str, sheet['stages']))}"
    return figure_style.panel(name, alt, draw, (WIDTH, height))


def _head(sheet: dict, t: int, width: float) -> tuple[list[str], list[str]]:
    """Lines of the stage's name, broken after underscores, and of its settings that are not defaults."""
    broken = textwrap.wrap(str(sheet["stages"][t]).replace("_", "_ "), max(6, int(width / BOLD_CHARACTER)))
    names = [line.replace("_ ", "_") for line in broken]
    settings = textwrap.wrap(str(sheet["stage_settings"][t]), max(8, int(width / CHARACTER)))
    return names, settings if len(settings) <= 4 else [*settings[:3], settings[3] + " …"]


def _tile(axes, left: float, top: float, side: float, height: float, sheet: dict, place: tuple) -> None:
    """Picture, histogram from black to white, and in words: these two, smallest and largest value, size, spacing."""
    case, t, r = place
    picture = axes.figure.add_axes((left / WIDTH, 1 - (top + side) / height, side / WIDTH, side / height))
    inner = _without_frame(sheet["strips"][place], sheet["strip_size"][case, t])
    shown = picture.imshow(inner, cmap="gray", vmin=0, vmax=255, interpolation="none")
    shown.set_gid(f"picture-{t}-{r}")  # matplotlib would give two equal pictures one id
    picture.axis("off")
    label = _channel(sheet, t, r)
    picture.text(0.03, 0.97, label, transform=picture.transAxes, fontsize=SMALL - 0.5, color="white", va="top")

    below = top + side + HISTOGRAM
    bars = axes.figure.add_axes((left / WIDTH, 1 - below / height, side / WIDTH, (HISTOGRAM - 0.03) / height))
    shares = np.sqrt(sheet["strip_histogram"][place])
    bars.fill_between(np.arange(len(shares)), shares, step="mid", color=MUTED, linewidth=0)
    # What lies beyond black and white piles up in the outer bins and would flatten the rest.
    bars.set(xlim=(-0.5, len(shares) - 0.5), ylim=(0, 1.1 * max(shares[1:-1].max(), 0.05)), xticks=[], yticks=[])
    bars.grid(False)
    bars.spines["left"].set_visible(False)
    bars.spines["bottom"].set_color(RULE)

    black, white = (_number(value) for value in sheet["strip_grey"][place])
    unit = str(sheet["stage_units"][t])
    low, high = (_number(value) for value in sheet["strip_span"][place])
    size, spacing = _size(sheet["strip_size"][case, t]), sheet["strip_spacing_mm"][case, t][2]
    axes.text(left, below + 0.02, black, fontsize=SMALL, va="top")
    shown_unit = f" {unit}" if len(unit) < 6 and "-" not in unit else ""
    axes.text(left + side, below + 0.02, white + shown_unit, fontsize=SMALL, va="top", ha="right")
    words = [f"[{low}, {high}]", size, f"{_number(spacing)} mm" if spacing > 0 else ""]
    axes.text(left, below + 0.15, "\n".join(words), fontsize=SMALL, va="top", color=MUTED, linespacing=1.1)


def _without_frame(square: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The picture without the black that makes it square, which would look like padding."""
    px, longest = len(square), max(size[1:])
    height, width = (max(1, round(n * px / longest)) for n in size[1:])
    top, left = (px - height) // 2, (px - width) // 2
    return square[top : top + height, left : left + width]


def _channel(sheet: dict, t: int, r: int) -> str:
    """What stands in the picture: the channel's name where there are several, and how many are not shown."""
    count, shown = sheet["channel_counts"][t], (sheet["strip_channels"][t] != "").sum()
    if count == 1 or sheet["strips"].ndim == 6:
        return ""
    more = f" (+ {count - shown} more)" if r == shown - 1 and count > shown else ""
    return str(sheet["strip_channels"][t, r]).replace("_", " ") + more


def _number(value: float) -> str:
    """`−1024`, `0.49`, `2.1e+05`: few digits."""
    text = f"{value:.0f}" if 100 <= abs(value) < 1e5 else f"{value:.2g}" if abs(value) < 10 else f"{value:.3g}"
    return ("0" if text == "-0" else text).replace("-", "−")


def _size(size: np.ndarray) -> str:
    """`28 × 512²`, `461 × 415`: slices where there are several, rows, columns."""
    slices, rows, columns = (int(n) for n in size)
    plane = f"{rows}²" if rows == columns else f"{rows} × {columns}"
    return plane if slices == 1 else f"{slices} × {plane}"

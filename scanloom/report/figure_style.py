"""How figures look: one palette, one font, one panel size; the same method has the same colour everywhere.

Panels are drawn once and kept twice. In the SVG, ink, grid and paper become the page's own colours, so that a figure
follows light and dark; text stays text, so that it can be read aloud, searched and scaled. The PNG is for Snakemake's
own report. Nothing in either depends on the clock or on chance: equal tables give equal bytes.
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

import matplotlib
from matplotlib.figure import Figure as Canvas

from scanloom.report.section import Panel

# Okabe & Ito (2008), distinguishable with any colour vision; their yellow is too pale on white and their black is ink.
BLUE, VERMILLION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, GREY = "#e69f00", "#56b4e9", "#858b93"
PINNED = {"from_scratch": GREY, "supervised": ORANGE, "barlow_twins": BLUE}
FREE = (VERMILLION, GREEN, PURPLE, SKY, BLUE, ORANGE)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Colours that the page replaces by its own; each value occurs nowhere else.
INK, MUTED, RULE, PAPER = "#20242b", "#69727d", "#d8dce2", "#fdfdfe"
PAGE_COLOURS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    BLUE: "var(--blue)",  # the one colour of the palette that is too dark on a dark page
}

WIDTH = 4.2  # inches: one column of the page; full width on a phone, where 9 pt is then about 10 px
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "scanloom",
    "figure.dpi": 100,
}


@dataclass(frozen=True)
class MethodStyle:
    """Colour and marker of one method in every figure."""

    colour: str
    marker: str


def method_styles(methods: Iterable[str]) -> dict[str, MethodStyle]:
    """A style per method, whatever the order they come in.

    The baseline is always grey. A method's colour follows from its name; only where two names meet on one colour does
    the later name in the alphabet take the next free one.
    """
    styles, taken = {}, set()
    for name in sorted(set(methods), key=lambda name: (name not in PINNED, name)):
        digit = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)
        order = [FREE[(digit + step) % len(FREE)] for step in range(len(FREE))]
        colour = PINNED.get(name) or next((c for c in order if c not in taken), order[0])
        taken.add(colour)
        marker = "o" if name in PINNED else MARKERS[digit // len(FREE) % len(MARKERS)]
        styles[name] = MethodStyle(colour, marker)
    return styles


def panel(name: str, alt: str, draw: Callable, inches: tuple[float, float] = (WIDTH, 2.95)) -> Panel:
    """`draw(axes)` as a panel. `name` is unique in the report; `alt` says in words what is drawn."""
    with matplotlib.rc_context(STYLE):
        canvas = Canvas(figsize=inches, layout="constrained")
        draw(canvas.subplots())
        svg, png = io.StringIO(), io.BytesIO()
        metadata = {"Date": None, "Creator": None, "Type": None, "Format": None}
        canvas.savefig(svg, format="svg", transparent=True, metadata=metadata)
        canvas.set_layout_engine("none")  # the layout found for the SVG holds
        canvas.savefig(png, format="png", dpi=150, facecolor="white", metadata={"Software": None})
    return Panel(inline_svg(svg.getvalue(), name, alt), png.getvalue())


def label_bar(axes, end: float, place: float, text: str) -> None:
    """Write `text` just beyond the end of a horizontal bar."""
    axes.annotate(
        text, (end, place), xytext=(4, 0), textcoords="offset points", va="center", ha="left", fontsize=8.5, color=INK
    )


def inline_svg(svg: str, name: str, alt: str) -> str:
    """A matplotlib SVG as an element of an HTML page: no prolog, own ids, page colours, a text alternative."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    opening, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]+"', opening).group()
    prefix = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    rest = re.sub(r'\bid="', f'id="{prefix}-', rest)
    rest = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", rest)
    rest = re.sub(r"\s*\n\s*", "\n", rest)
    for ours, theirs in PAGE_COLOURS.items():
        rest = rest.replace(ours, theirs)
    return f'<svg {box} role="img" aria-label="{escape(alt)}">{rest.strip()}'

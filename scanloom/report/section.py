"""What a section of the report consists of: a lead sentence and blocks, each with its caption and its origin.

Sections describe, `page.html.j2` draws: no section writes HTML. `sources` are names of study tables; the page prints
the origin of each under the block.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

TONES = ("good", "bad", "open", "none", "plain")  # evidence for, evidence against, no evidence, not testable, neutral


@dataclass(frozen=True)
class Heading:
    """A heading between blocks: a task, a dataset."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Note:
    """A paragraph, such as why there is nothing to show."""

    kind: ClassVar[str] = "note"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Statement:
    """A generated sentence with its finding, what else is said in smaller type; `big` for the headline."""

    kind: ClassVar[str] = "statement"
    text: str
    detail: str = ""
    tone: str = "plain"
    badge: str = ""
    big: bool = False


@dataclass(frozen=True)
class KeyNumber:
    """One number worth seeing first."""

    label: str
    value: str
    detail: str = ""
    tone: str = "plain"


@dataclass(frozen=True)
class KeyNumbers:
    """A row of key numbers."""

    kind: ClassVar[str] = "key_numbers"
    numbers: tuple[KeyNumber, ...]
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Panel:
    """One drawing: `svg` for the page (follows its colours), `png` for Snakemake's own report."""

    svg: str
    png: bytes


@dataclass(frozen=True)
class Figure:
    """Panels under one caption. `look`: what to look at; `bad`: what a bad one looks like; `name`: its file stem.

    wide: each panel takes the whole width of the page.
    """

    kind: ClassVar[str] = "figure"
    name: str
    panels: tuple[Panel, ...]
    caption: str
    look: str
    bad: str
    sources: tuple[str, ...]
    wide: bool = False


@dataclass(frozen=True)
class Card:
    """One case: images uint8 [h, w] or [h, w, 3], each with a short label, under one title."""

    title: str
    images: tuple[tuple[str, np.ndarray], ...]
    note: str = ""
    tone: str = "plain"


@dataclass(frozen=True)
class Cards:
    """Cases side by side under one caption; `name` is the file stem of the whole sheet."""

    kind: ClassVar[str] = "cards"
    name: str
    cards: tuple[Card, ...]
    caption: str
    look: str
    bad: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of text. Columns in `numeric` are right-aligned; a `folded` table opens on a click."""

    kind: ClassVar[str] = "table"
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str
    sources: tuple[str, ...]
    numeric: frozenset[str] = frozenset()
    folded: bool = False

    def __post_init__(self):
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(f"table '{self.title}': {len(wrong[0])} cells in a row, {len(self.columns)} columns")


@dataclass(frozen=True)
class Listing:
    """Preformatted text, folded: settings as they were resolved."""

    kind: ClassVar[str] = "listing"
    title: str
    text: str


@dataclass(frozen=True)
class Section:
    """One section: its title, one or two lead sentences, its blocks in order. `build` may give None: nothing to say."""

    title: str
    lead: str
    blocks: tuple = field(default=())

"""One self-contained HTML page from the sections, and every figure as a PNG file for Snakemake's own report."""

import os
import re
from collections import Counter
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scanloom import plugins
from scanloom.report import image_tiles
from scanloom.report.section import Cards, Figure, Section
from scanloom.report.study_tables import StudyTables

HERE = Path(__file__).parent
SECTIONS = "report/sections"
LARGEST_MB = 10  # browsers on phones and mail gateways still take it; larger reports were other projects' complaint


class ReportTooLarge(ValueError):
    """The page would be larger than LARGEST_MB."""


def section_names(chosen: list[str] | None) -> list[str]:
    """The chosen sections, or all, in their order on the page."""
    return sorted(chosen or plugins.names(SECTIONS), key=lambda name: plugins.load(SECTIONS, name).ORDER)


def build_sections(tables: StudyTables, chosen: list[str] | None = None) -> dict[str, Section]:
    """Every section by name, in order, but those (None) of which this study has nothing.

    An error names the section it happened in.
    """
    sections = {}
    for name in section_names(chosen):
        try:
            sections[name] = plugins.load(SECTIONS, name).build(tables)
        except Exception as error:
            error.add_note(f"while building the report's section '{name}'")
            raise
    return {name: section for name, section in sections.items() if section is not None}


def build_report(
    tables: StudyTables,
    sections: list[str] | None,
    out_html: str | Path,
    figures_folder: str | Path,
    largest_mb: float = LARGEST_MB,
) -> dict:
    """Write the page and the figures. Returns {"bytes", "sections", "figures"}. Raises ReportTooLarge."""
    built = build_sections(tables, sections)
    html = render(tables, built)
    size = len(html.encode())
    if size > largest_mb * 1e6:
        raise ReportTooLarge(
            f"{out_html}: {size / 1e6:.1f} MB, allowed {largest_mb:g} MB. Largest sections: {_largest(tables, built)}. "
            "Lower report.contact_sheet_cases or explanation.cases_per_group, or list fewer report.sections."
        )
    figures = write_figures(built, Path(figures_folder))
    out_html = Path(out_html)
    out_html.parent.mkdir(parents=True, exist_ok=True)
    part = out_html.with_name(out_html.name + ".part")
    part.write_text(html)
    os.replace(part, out_html)
    return {"bytes": size, "sections": list(built), "figures": figures}


def render(tables: StudyTables, sections: dict[str, Section]) -> str:
    """The page as text. Everything but the SVG of panels is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(
        origins=lambda sources: origin_lines(tables, sources), image=_image_element, anchor=anchor
    )
    html = environment.get_template("page.html.j2").render(
        title=tables.title, study=tables.config["name"], sections=sections, style=(HERE / "style.css").read_text()
    )
    html = re.sub(r"\n\s*\n+", "\n", html)
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", html)  # a number and its unit stay on one line


def origin_lines(tables: StudyTables, sources: tuple[str, ...]) -> list[str]:
    """One short line per rule behind the sources; says so where a file has no recorded origin."""
    seen: Counter = Counter()
    for name in sources:
        origin = tables.origin(name)
        seen[(origin.rule, origin.config, origin.data, origin.code) if origin else None] += 1
    by_rule: dict[tuple, list[str]] = {}
    for key, n in seen.items():
        if key is None:
            by_rule[None] = [f"origin of {n} file{'s' if n > 1 else ''} not recorded"]
        else:
            by_rule.setdefault((key[0], key[1], key[3]), []).append(key[2])
    lines = []
    for key, data in by_rule.items():
        if key is None:
            lines += data
        else:
            rule, config, code = key
            several = f" +{len(data) - 1} more" if len(data) > 1 else ""
            lines.append(f"{rule} · config {config[:7]} · data {data[0][:7]}{several} · code {code[:7]}")
    return lines


def write_figures(sections: dict[str, Section], folder: Path) -> list[str]:
    """Every figure and sheet of cases as `<folder>/<name>.png`; figures of an earlier report go. Returns the names."""
    files: dict[str, bytes] = {}
    for section in sections.values():
        for block in section.blocks:
            if not isinstance(block, Figure | Cards):
                continue
            if block.name in files:
                raise ValueError(f"two figures of the report are called '{block.name}'")
            if not re.fullmatch(r"[A-Za-z0-9_.-]+", block.name):
                raise ValueError(f"figure name '{block.name}': letters, digits, '_', '.' and '-' only; it names a file")
            if isinstance(block, Figure):
                columns = 1 if block.wide else 2
                files[block.name] = image_tiles.side_by_side([panel.png for panel in block.panels], columns)
            else:
                files[block.name] = image_tiles.sheet_png(block.cards)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    for name, content in files.items():
        (folder / f"{name}.png").write_bytes(content)
    return sorted(files)


def anchor(text: str) -> str:
    """A heading as the id of an element."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _image_element(array, alt: str) -> dict:
    small = image_tiles.thumbnail(array)
    return {"src": image_tiles.data_uri(small), "width": small.shape[1], "height": small.shape[0], "alt": alt}


def _largest(tables: StudyTables, sections: dict[str, Section]) -> str:
    sizes = {name: len(render(tables, {name: section}).encode()) for name, section in sections.items()}
    top = sorted(sizes, key=sizes.get, reverse=True)[:3]
    return ", ".join(f"{name} {sizes[name] / 1e6:.1f} MB" for name in top)

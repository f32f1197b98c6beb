"""Where every number comes from: rule, settings, input data and code behind each table, versions, settings."""

from scanloom.report import wording
from scanloom.report.section import Listing, Note, Section, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Provenance"
ORDER = 100
LEAD = (
    "Under each figure and table stand the rule that made it and short fingerprints of its settings, its input data "
    "and its code. Here they are in full: equal fingerprints mean equal results."
)


def build(tables: StudyTables) -> Section:
    """Origins of all tables, versions, settings."""
    origins = {name: tables.origin(name) for name in tables.names()}
    known = {name: origin for name, origin in origins.items() if origin}
    blocks = []
    unknown = sorted(set(origins) - set(known))
    if unknown:
        blocks.append(Note(f"No origin was recorded for {len(unknown)} of {len(origins)} files: {_few(unknown)}."))
    if tables.absent():
        blocks.append(Note(f"Expected but not there: {_few(tables.absent())}. The sections that need them say so."))
    if known:
        blocks += [_origins(known), _versions(known)]
    blocks.append(Listing("Settings, as resolved", tables.settings_text()))
    return Section(TITLE, LEAD, tuple(blocks))


def _few(names: list[str], most: int = 6) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _origins(known: dict) -> Table:
    return Table(
        title="Files behind this page",
        columns=("File below results/", "Rule", "Settings", "Data", "Code"),
        rows=tuple((name, o.rule, o.config, o.data, o.code) for name, o in sorted(known.items())),
        caption="Settings, data, code: fingerprints of what the rule was given. The file's origin.json has them too.",
        sources=(),
        folded=True,
    )


def _versions(known: dict) -> Table:
    """Versions by package; where files were made with different ones, all of them, each with its rules."""
    found: dict[str, dict[str, set[str]]] = {}
    for origin in known.values():
        for package, version in origin.versions:
            found.setdefault(package, {}).setdefault(version, set()).add(origin.rule)
    rows = []
    for package, versions in sorted(found.items()):
        mixed = len(versions) > 1
        for version, rules in sorted(versions.items()):
            rows.append((package, version, ", ".join(sorted(rules)) if mixed else "all rules that have it"))
    mixed = sorted(package for package, versions in found.items() if len(versions) > 1)
    caption = f"Different versions were used of: {', '.join(mixed)}." if mixed else "The same versions for all results."
    return Table(
        title="Versions",
        columns=("Package", "Version", "Rules"),
        rows=tuple(rows) or ((wording.NOTHING, wording.NOTHING, wording.NOTHING),),
        caption=caption,
        sources=(),
    )

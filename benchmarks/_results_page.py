"""Write the results section of benchmarks/README.md from the JSON files of the last runs.

python benchmarks/_results_page.py        # `make bench` does it last
"""

import json
from pathlib import Path

FOLDER = Path(__file__).parent
START, END = "## Results", "## Notes"
COLUMNS = ("measure", "unit", "ours", "peer", "ratio", "spread", "goal", "met")


def cell(row: dict, column: str) -> str:
    """A value as it stands in the table: three digits, ranges with 'to', nothing as a dash."""
    value = row[column]
    if value is None:
        return "-"
    if column == "met":
        return "yes" if value else "NO"
    if column == "spread":
        return " to ".join(f"{v:.3g}" for v in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def section(result: dict) -> str:
    """Heading, machine and table of one benchmark."""
    machine = result["machine"]
    about = f"{result['date']}, {machine['cores']} cores {machine['cpu']}, load at start {machine['load_at_start']}."
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    rows += ["| " + " | ".join(cell(row, column) for column in COLUMNS) + " |" for row in result["rows"]]
    return "\n".join([f"### {result['benchmark']}", "", about, "", *rows])


def main() -> None:
    """Replace everything between the two headings."""
    results = [json.loads(path.read_text()) for path in sorted((FOLDER / "results").glob("*.json"))]
    versions = ", ".join(f"{name} {version}" for name, version in results[0]["versions"].items())
    page = (FOLDER / "README.md").read_text()
    before, after = page[: page.index(START)], page[page.index(END) :]
    parts = [START, f"Versions: {versions}. Ratios hold better than times.", *map(section, results)]
    (FOLDER / "README.md").write_text(before + "\n\n".join(parts) + "\n\n" + after)


if __name__ == "__main__":
    main()

"""Write the results section of benchmarks/README.md from the JSON files of the last runs.

python benchmarks/_results_page.py        # `make bench` does it last

Benchmarks that were not run again keep their tables: the page is the only place where earlier results stay.
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


def sections(page: str) -> dict[str, str]:
    """Benchmark -> its section as it stands in the page."""
    parts = page[page.index(START) : page.index(END)].split("\n### ")[1:]
    return {part.partition("\n")[0].strip(): f"### {part}".strip() for part in parts}


def with_results(page: str, results: list[dict]) -> str:
    """The page with the sections of these runs; those of other benchmarks stay as they are."""
    before, after = page[: page.index(START)], page[page.index(END) :]
    found = sections(page) | {result["benchmark"]: section(result) for result in results}
    versions = ", ".join(f"{name} {version}" for name, version in results[-1]["versions"].items())
    parts = [START, f"Versions: {versions}. Ratios hold better than times.", *(found[name] for name in sorted(found))]
    return before + "\n\n".join(parts) + "\n\n" + after


def main() -> None:
    """Put what lies in benchmarks/results into the page."""
    results = [json.loads(path.read_text()) for path in sorted((FOLDER / "results").glob("*.json"))]
    page = FOLDER / "README.md"
    page.write_text(with_results(page.read_text(), results))


if __name__ == "__main__":
    main()

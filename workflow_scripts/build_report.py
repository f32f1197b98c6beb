"""results/report.html and its figures, from every table of the study."""

from pathlib import Path

from scanloom.report.assemble import build_report
from scanloom.report.study_tables import StudyTables
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    tables = StudyTables(
        params.tables,
        params.study,
        params.datasets,
        Path(params.benchmarks).rglob("*.tsv"),
    )
    page = snakemake.output.page
    done = build_report(tables, params.study["report"]["sections"], page, Path(snakemake.output.figures))
    print(f"{page}: {done['bytes'] / 1e6:.1f} MB, sections {', '.join(done['sections'])}")

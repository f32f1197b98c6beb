# One page that answers the question.


rule build_report:
    input:
        **planning.report_inputs(study),
    output:
        page=report(
            "results/report.html",
            caption="../report_captions/report.rst",
            category="Report",
        ),
        # A folder: its files are named after the study's tasks, and outputs of fixed names let Snakemake notice
        # that results/report.html came from another study.
        figures=report(
            directory("results/figures"),
            patterns=["{name}.png"],
            caption="../report_captions/figures.rst",
            category="Figures",
            labels={"figure": "{name}"},
        ),
    log:
        "logs/build_report/report.log",
    benchmark:
        "logs/benchmarks/build_report/report.tsv"
    conda:
        "../envs/figures.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=30,
    params:
        tables=planning.report_tables(study),
        study=planning.public(study),
        datasets=DATASETS,
        benchmarks="logs/benchmarks",
        code=code_of("build_report", **{"report/sections": planning.report_sections(study)}),
        look=code_dependencies.code_fingerprint(
            ROOT / "scanloom/report/page.html.j2", ROOT / "scanloom/report/style.css"
        ),
    script:
        "../workflow_scripts/build_report.py"

"""Scanloom: from a folder of medical images to how many labels self-supervised pretraining saves.

snakemake --cores 8 results/report.html        the study of config.yaml
snakemake --cores 8 results/report.html --configfile other.yaml
snakemake --cores 8 --forcerun download_dataset -- rescan       look for new or removed images, then run a line above
"""

from snakemake.utils import min_version

min_version("9.20")

# A study file given on the command line replaces config.yaml as a whole: merging two studies would mix their datasets.
if "datasets" not in config:

    configfile: "config.yaml"


report: "report_captions/workflow.rst"


include: "rules/common.smk"
include: "rules/acquire.smk"
include: "rules/prepare.smk"
include: "rules/inspect.smk"
include: "rules/pretrain.smk"
include: "rules/downstream.smk"
include: "rules/studies.smk"
include: "rules/evaluate.smk"
include: "rules/report.smk"


localrules:
    all,
    rescan,


rule all:
    default_target: True
    input:
        "results/report.html",


rule rescan:
    input:
        collect("results/{dataset}/splits.parquet", dataset=study.datasets),


onerror:
    print("A step failed. Its log is shown above; after the fix, the same command goes on from there.")

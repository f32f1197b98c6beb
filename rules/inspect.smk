# What a careful reader wants to see of the images before believing any number.


rule audit_leakage:
    input:
        index="results/{dataset}/shards/index.json",
    output:
        leakage="results/{dataset}/leakage.parquet",
        origin="results/{dataset}/leakage.parquet.origin.json",
    log:
        "logs/audit_leakage/{dataset}.log",
    benchmark:
        "logs/benchmarks/audit_leakage/{dataset}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        code=code_of("audit_leakage"),
    script:
        "../workflow_scripts/audit_leakage.py"


rule sample_contact_sheet:
    input:
        root=f"{FOLDERS.private}/{{dataset}}/root.json",
        chunks=expand(
            f"{FOLDERS.private}/{{{{dataset}}}}/chunks/{{chunk}}.parquet",
            chunk=planning.chunk_names(study),
        ),
        images=expand("results/{{dataset}}/images/{chunk}.parquet", chunk=planning.chunk_names(study)),
    output:
        sheet="results/{dataset}/contact_sheet.npz",
        origin="results/{dataset}/contact_sheet.npz.origin.json",
    log:
        "logs/sample_contact_sheet/{dataset}.log",
    benchmark:
        "logs/benchmarks/sample_contact_sheet/{dataset}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        reader=of_dataset("reader"),
        steps=lookup(dpath="datasets/{dataset}/steps", within=config),
        dtype=lookup(dpath="datasets/{dataset}/dtype", within=config),
        rank=lookup(dpath="rank", within=config),
        labels=of_dataset("labels"),
        cases=lookup(dpath="report/contact_sheet_cases", within=config),
        seed=lookup(dpath="seed", within=config),
        code=code_of(
            "sample_contact_sheet",
            readers=of_dataset("reader"),
            steps=planned(planning.step_names),
        ),
    script:
        "../workflow_scripts/sample_contact_sheet.py"

# What a careful reader wants to see of the images before believing any number.


rule fingerprint_images:
    input:
        index="results/{dataset}/shards/index.json",
    output:
        fingerprints="results/{dataset}/fingerprints.npz",
    log:
        "logs/fingerprint_images/{dataset}.log",
    benchmark:
        "logs/benchmarks/fingerprint_images/{dataset}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        code=code_of("fingerprint_images"),
    script:
        "../workflow_scripts/fingerprint_images.py"


rule audit_leakage:
    input:
        fingerprints=expand("results/{dataset}/fingerprints.npz", dataset=study.datasets),
        indexes=expand("results/{dataset}/shards/index.json", dataset=study.datasets),
        roots=expand(f"{FOLDERS.private}/{{dataset}}/root.json", dataset=study.datasets),
        chunks=planning.chunk_files(study, f"{FOLDERS.private}/{{dataset}}/chunks/{{chunk}}.parquet", study.datasets),
    output:
        leakage="results/leakage.parquet",
        examples="results/leakage_examples.npz",
        origin="results/leakage.parquet.origin.json",
    log:
        "logs/audit_leakage/study.log",
    benchmark:
        "logs/benchmarks/audit_leakage/study.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 4
    resources:
        mem_mb=2500,
        runtime=120,
    params:
        roles=planning.leakage_roles(study),
        rank=lookup(dpath="rank", within=config),
        examples=lookup(dpath="leakage/examples", within=config),
        code=code_of("audit_leakage"),
    script:
        "../workflow_scripts/audit_leakage.py"


# Only studies with leakage.strict ask for its output: a rule of its own, so that the audit's table stays to be read.
rule refuse_leakage:
    input:
        leakage="results/leakage.parquet",
    output:
        none="results/no_leakage.json",
    log:
        "logs/refuse_leakage/study.log",
    benchmark:
        "logs/benchmarks/refuse_leakage/study.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        code=code_of("refuse_leakage"),
    script:
        "../workflow_scripts/refuse_leakage.py"


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

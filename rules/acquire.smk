# Get the images here and find out what they are.


rule download_dataset:
    output:
        root=f"{FOLDERS.private}/{{dataset}}/root.json",
        manifest=f"{FOLDERS.private}/{{dataset}}/download.json",
    log:
        "logs/download_dataset/{dataset}.log",
    benchmark:
        "logs/benchmarks/download_dataset/{dataset}.tsv"
    conda:
        "../envs/download.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=720,
    params:
        source=of_dataset("source"),
        folder=f"{FOLDERS.data}/{{dataset}}",
        seed=lambda w: planning.source_seed(study, DATASETS[w.dataset]["source"]),
        layout=of_dataset("layout"),
        how_to_get=of_dataset("how_to_get"),
        code=code_of("download_dataset", sources=of_dataset("source")),
    script:
        "../workflow_scripts/download_dataset.py"


rule catalogue_dataset:
    input:
        root=f"{FOLDERS.private}/{{dataset}}/root.json",
        manifest=f"{FOLDERS.private}/{{dataset}}/download.json",
        labels=lambda w: planning.label_files_here(DATASETS[w.dataset]),
    output:
        catalogue="results/{dataset}/catalogue.parquet",
        books="results/{dataset}/books.json",
        files=f"{FOLDERS.private}/{{dataset}}/files.parquet",
        series=f"{FOLDERS.private}/{{dataset}}/series.parquet",
        labels=f"{FOLDERS.private}/{{dataset}}/labels.parquet",
        chunks=expand(
            f"{FOLDERS.private}/{{{{dataset}}}}/chunks/{{chunk}}.parquet",
            chunk=planning.chunk_names(study),
        ),
        origin="results/{dataset}/catalogue.parquet.origin.json",
    log:
        "logs/catalogue_dataset/{dataset}.log",
    benchmark:
        "logs/benchmarks/catalogue_dataset/{dataset}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
    params:
        reader=of_dataset("reader"),
        modality=of_dataset("modality"),
        where=of_dataset("where"),
        exclude=of_dataset("exclude"),
        group=of_dataset("group"),
        labels=lambda w: planning.label_tables(DATASETS[w.dataset]),
        masks=of_dataset("masks"),
        site=of_dataset("site"),
        expected=of_dataset("expected"),
        salt=lookup(dpath="salt", within=config),
        code=code_of("catalogue_dataset", readers=of_dataset("reader")),
    script:
        "../workflow_scripts/catalogue_dataset.py"

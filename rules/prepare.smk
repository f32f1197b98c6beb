# From series to checked integer images in shards, with every patient in exactly one split.


rule split_patients:
    input:
        catalogue="results/{dataset}/catalogue.parquet",
        labels=f"{FOLDERS.private}/{{dataset}}/labels.parquet",
        chunks=expand(
            f"{FOLDERS.private}/{{{{dataset}}}}/chunks/{{chunk}}.parquet",
            chunk=planning.chunk_names(study),
        ),
    output:
        splits="results/{dataset}/splits.parquet",
        images=expand("results/{{dataset}}/images/{chunk}.parquet", chunk=planning.chunk_names(study)),
        masks=f"{FOLDERS.private}/{{dataset}}/masks.parquet",
        agreement="results/{dataset}/reader_agreement.parquet",
        agreement_origin="results/{dataset}/reader_agreement.parquet.origin.json",
        origin="results/{dataset}/splits.parquet.origin.json",
    log:
        "logs/split_patients/{dataset}.log",
    benchmark:
        "logs/benchmarks/split_patients/{dataset}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        labels=of_dataset("labels"),
        task_labels=planned(planning.task_labels),
        masks=of_dataset("masks"),
        official_split=of_dataset("official_split"),
        stratify=of_dataset("stratify"),
        shares={key: value for key, value in config["splits"].items() if key != "external_test_site"},
        external_test_site=planned(planning.external_test_site),
        seed=lookup(dpath="seed", within=config),
        code=code_of("split_patients"),
    script:
        "../workflow_scripts/split_patients.py"


rule preprocess_chunk:
    input:
        root=f"{FOLDERS.private}/{{dataset}}/root.json",
        chunk=f"{FOLDERS.private}/{{dataset}}/chunks/{{chunk}}.parquet",
    output:
        images="results/{dataset}/preprocessed/{chunk}.npy",
        about="results/{dataset}/preprocessed/{chunk}.npz",
    log:
        "logs/preprocess_chunk/{dataset}/{chunk}.log",
    benchmark:
        "logs/benchmarks/preprocess_chunk/{dataset}-{chunk}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=240,
    params:
        reader=of_dataset("reader"),
        steps=lookup(dpath="datasets/{dataset}/steps", within=config),
        dtype=lookup(dpath="datasets/{dataset}/dtype", within=config),
        rank=lookup(dpath="rank", within=config),
        code=code_of("preprocess_chunk", readers=of_dataset("reader"), steps=planned(planning.step_names)),
    script:
        "../workflow_scripts/preprocess_chunk.py"


rule shard_chunk:
    input:
        preprocessed=rules.preprocess_chunk.output,
        images="results/{dataset}/images/{chunk}.parquet",
    output:
        train="results/{dataset}/shards/train-{chunk}.tfrecord",
        validation="results/{dataset}/shards/validation-{chunk}.tfrecord",
        test="results/{dataset}/shards/test-{chunk}.tfrecord",
        manifest="results/{dataset}/shards/{chunk}.json",
    log:
        "logs/shard_chunk/{dataset}/{chunk}.log",
    benchmark:
        "logs/benchmarks/shard_chunk/{dataset}-{chunk}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        labels=label_columns,
        compression=lookup(dpath="shards/compression", within=config),
        code=code_of("shard_chunk"),
    script:
        "../workflow_scripts/shard_chunk.py"


rule index_shards:
    input:
        manifests=collect("results/{{dataset}}/shards/{chunk}.json", chunk=planning.chunk_names(study)),
        shards=collect(
            "results/{{dataset}}/shards/{split}-{chunk}.tfrecord",
            split=planning.SPLITS,
            chunk=planning.chunk_names(study),
        ),
    output:
        index="results/{dataset}/shards/index.json",
    log:
        "logs/index_shards/{dataset}.log",
    benchmark:
        "logs/benchmarks/index_shards/{dataset}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=60,
    params:
        code=code_of("index_shards"),
    script:
        "../workflow_scripts/index_shards.py"

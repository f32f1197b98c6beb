# What an encoder is worth with few labels: the frozen and the finetuned arm.


rule draw_fraction:
    input:
        splits=of_tasks_dataset("results/{dataset}/splits.parquet"),
        images=of_tasks_dataset("results/{dataset}/images/{chunk}.parquet"),
    output:
        fraction="results/{task}/fractions/{fraction}.parquet",
    log:
        "logs/draw_fraction/{task}/{fraction}.log",
    benchmark:
        "logs/benchmarks/draw_fraction/{task}-{fraction}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        label=label_of_task,
        seed=lookup(dpath="seed", within=config),
        seeds=lookup(dpath="seeds", within=config),
        code=code_of("draw_fraction"),
    script:
        "../workflow_scripts/draw_fraction.py"


rule probe_encoder:
    input:
        encoder=encoder_of_task,
        index=of_tasks_dataset("results/{dataset}/shards/index.json"),
        fractions=expand(
            "results/{{task}}/fractions/{fraction}.parquet",
            fraction=planning.fraction_names(study),
        ),
    output:
        predictions="results/{task}/predictions/{method}/frozen.parquet",
        selection="results/{task}/selection/{method}/frozen.parquet",
        embeddings="results/{task}/embeddings/{method}.npz",
        origin="results/{task}/predictions/{method}/frozen.parquet.origin.json",
    log:
        "logs/probe_encoder/{task}/{method}.log",
    benchmark:
        "logs/benchmarks/probe_encoder/{task}-{method}.tsv"
    conda:
        "../envs/learn.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=240,
        gpu=0,
    params:
        label=label_of_task,
        arm=lookup(dpath="arms/frozen", within=config),
        seeds=lookup(dpath="seeds", within=config),
        encoder=lookup(dpath="encoder", within=config),
        code=code_of("probe_encoder", methods=["{method}"], encoders=planning.encoder_names(study)),
    script:
        "../workflow_scripts/probe_encoder.py"


rule finetune_encoder:
    input:
        encoder=encoder_of_task,
        index=of_tasks_dataset("results/{dataset}/shards/index.json"),
        fraction="results/{task}/fractions/{fraction}.parquet",
    output:
        predictions="results/{task}/predictions/{method}/finetuned-{fraction}.parquet",
        selection="results/{task}/selection/{method}/finetuned-{fraction}.parquet",
        history="results/{task}/finetuned/{method}/{fraction}/history.parquet",
        model="results/{task}/finetuned/{method}/{fraction}/model.keras",
        origin="results/{task}/predictions/{method}/finetuned-{fraction}.parquet.origin.json",
    log:
        "logs/finetune_encoder/{task}/{method}-{fraction}.log",
    benchmark:
        "logs/benchmarks/finetune_encoder/{task}-{method}-{fraction}.tsv"
    conda:
        "../envs/learn.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=1440,
        gpu=0,
    params:
        label=label_of_task,
        arm=lookup(dpath="arms/finetuned", within=config),
        seeds=lookup(dpath="seeds", within=config),
        encoder=lookup(dpath="encoder", within=config),
        views=lookup(dpath="views", within=config),
        seed=lookup(dpath="seed", within=config),
        runs=FOLDERS.runs,
        code=code_of(
            "finetune_encoder",
            methods=["{method}"],
            encoders=planning.encoder_names(study),
            views=used_views,
        ),
    script:
        "../workflow_scripts/finetune_encoder.py"

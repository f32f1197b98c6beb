# Encoders from images without the task's labels.


rule list_corpus:
    input:
        splits=expand("results/{dataset}/splits.parquet", dataset=study.datasets),
        no_leakage=planning.leakage_gate(study),
    output:
        patients="results/{corpus}/patients.parquet",
        origin="results/{corpus}/patients.parquet.origin.json",
    log:
        "logs/list_corpus/{corpus}.log",
    benchmark:
        "logs/benchmarks/list_corpus/{corpus}.tsv"
    conda:
        "../envs/dicom.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        datasets=lookup(dpath="corpora/{corpus}/datasets", within=config),
        task_datasets=sorted({task.dataset for task in study.tasks.values()}),
        code=code_of("list_corpus"),
    script:
        "../workflow_scripts/list_corpus.py"


rule pretrain_encoder:
    input:
        patients="results/{corpus}/patients.parquet",
        indexes=planned(planning.corpus_indexes),
        weights=lambda w: planning.weight_files(study, w.method),
    output:
        encoder="results/{corpus}/pretrained/{method}/encoder.keras",
        history="results/{corpus}/pretrained/{method}/history.parquet",
        run="results/{corpus}/pretrained/{method}/run.json",
        pictures="results/{corpus}/pretrained/{method}/pictures.npz",
        origin="results/{corpus}/pretrained/{method}/history.parquet.origin.json",
    log:
        "logs/pretrain_encoder/{corpus}/{method}.log",
    benchmark:
        "logs/benchmarks/pretrain_encoder/{corpus}-{method}.tsv"
    conda:
        "../envs/learn.yaml"
    threads: lambda w: share_of_cores(planning.trainings(study), most=4)
    resources:
        mem_mb=3000,
        runtime=2880,
        gpu=0,
    params:
        method=lookup(dpath="pretraining/methods/{method}", within=config),
        splits=planned(planning.corpus_splits),
        budget=lambda w: planning.budget(study, w.method),
        encoder=lookup(dpath="encoder", within=config),
        views=lookup(dpath="views", within=config),
        seed=lookup(dpath="seed", within=config),
        runs=FOLDERS.runs,
        code=code_of(
            "pretrain_encoder",
            methods=["{method}"],
            encoders=planning.encoder_names(study),
            views=used_views,
            optimizers=lambda w: planning.optimizer_names(
                planning.budget(study, w.method), study.pretraining.methods[w.method]
            ),
            schedules=lambda w: planning.budget(study, w.method)["schedule"],
        ),
    script:
        "../workflow_scripts/pretrain_encoder.py"


rule sample_views:
    input:
        index="results/{dataset}/shards/index.json",
    output:
        sheet="results/{dataset}/views.npz",
        origin="results/{dataset}/views.npz.origin.json",
    log:
        "logs/sample_views/{dataset}.log",
    benchmark:
        "logs/benchmarks/sample_views/{dataset}.tsv"
    conda:
        "../envs/learn.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        views=lookup(dpath="views", within=config),
        cases=lookup(dpath="report/view_cases", within=config),
        seed=lookup(dpath="seed", within=config),
        code=code_of("sample_views", views=used_views),
    script:
        "../workflow_scripts/sample_views.py"

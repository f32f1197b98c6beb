# Numbers with intervals, and where the networks look.


rule evaluate_task:
    input:
        predictions=expand("results/{{task}}/predictions/{stem}.parquet", stem=planning.prediction_stems(study)),
        selections=expand("results/{{task}}/selection/{stem}.parquet", stem=planning.prediction_stems(study)),
        splits=of_tasks_dataset("results/{dataset}/splits.parquet"),
    output:
        metrics="results/{task}/evaluation/metrics.parquet",
        comparisons="results/{task}/evaluation/comparisons.parquet",
        savings="results/{task}/evaluation/savings.parquet",
        calibration="results/{task}/evaluation/calibration.parquet",
        confusion="results/{task}/evaluation/confusion.parquet",
        verdict="results/{task}/evaluation/verdict.json",
        origin="results/{task}/evaluation/metrics.parquet.origin.json",
    log:
        "logs/evaluate_task/{task}.log",
    benchmark:
        "logs/benchmarks/evaluate_task/{task}.tsv"
    conda:
        "../envs/figures.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=60,
    params:
        label=label_of_task,
        level=of_task("level"),
        aggregate=of_task("aggregate"),
        evaluation=lookup(dpath="evaluation", within=config),
        references=planning.methods_with_labels(study),
        seed=lookup(dpath="seed", within=config),
        code=code_of("evaluate_task", metrics=study.evaluation.metrics),
    script:
        "../workflow_scripts/evaluate_task.py"


rule explain_task:
    input:
        models=expand(
            "results/{{task}}/finetuned/{method}/{fraction}/model.keras",
            method=planning.explained_methods(study),
            fraction=planning.fraction_names(study)[-1],
        ),
        predictions=expand(
            "results/{{task}}/predictions/{method}/finetuned-{fraction}.parquet",
            method=planning.explained_methods(study),
            fraction=planning.fraction_names(study)[-1],
        ),
        index=of_tasks_dataset("results/{dataset}/shards/index.json"),
        root=of_tasks_dataset(f"{FOLDERS.private}/{{dataset}}/root.json"),
        catalogue=of_tasks_dataset("results/{dataset}/catalogue.parquet"),
        chunks=of_tasks_dataset(f"{FOLDERS.private}/{{dataset}}/chunks/{{chunk}}.parquet"),
        masks=of_tasks_dataset(f"{FOLDERS.private}/{{dataset}}/masks.parquet"),
    output:
        cases="results/{task}/explained/cases.parquet",
        panels="results/{task}/explained/cases.npz",
        pointing="results/{task}/explained/pointing.json",
        origin="results/{task}/explained/cases.parquet.origin.json",
    log:
        "logs/explain_task/{task}.log",
    benchmark:
        "logs/benchmarks/explain_task/{task}.tsv"
    conda:
        "../envs/learn.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=120,
        gpu=0,
    params:
        label=label_of_task,
        methods=planning.explained_methods(study),
        first_seed=study.seeds[0],
        explanation=lookup(dpath="explanation", within=config),
        reader=reader_of_task,
        steps=planned(planning.task_steps),
        rank=lookup(dpath="rank", within=config),
        seed=lookup(dpath="seed", within=config),
        code=code_of(
            "explain_task",
            explain=[study.explanation.method],
            steps=planned(planning.task_step_names),
        ),
    script:
        "../workflow_scripts/explain_task.py"

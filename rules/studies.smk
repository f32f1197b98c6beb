# Searches over settings, by short trainings and validation alone; nothing here feeds the verdict.


rule run_trial:
    input:
        unpack(searches.inputs),
    output:
        result="results/studies/{search}/trials/{trial}/result.json",
        curve="results/studies/{search}/trials/{trial}/curve.parquet",
        predictions="results/studies/{search}/trials/{trial}/predictions.parquet",
    log:
        "logs/run_trial/{search}/{trial}.log",
    benchmark:
        "logs/benchmarks/run_trial/{search}-{trial}.tsv"
    conda:
        "../envs/learn.yaml"
    threads: 2
    resources:
        mem_mb=3000,
        runtime=1440,
        gpu=0,
    params:
        job=searches.job,
        label=label_of_task,
        runs=FOLDERS.runs,
        code=code_of(
            "run_trial",
            methods=searches.plugins("methods"),
            encoders=searches.plugins("encoders"),
            views=searches.plugins("views"),
            optimizers=searches.plugins("optimizers"),
            schedules=searches.plugins("schedules"),
        ),
    script:
        "../workflow_scripts/run_trial.py"


rule rank_trials:
    input:
        results=searches.files("result.json"),
        curves=searches.files("curve.parquet"),
        predictions=searches.files("predictions.parquet"),
    output:
        ranking="results/studies/{search}/ranking.parquet",
        curves="results/studies/{search}/curves.parquet",
        origin="results/studies/{search}/ranking.parquet.origin.json",
    log:
        "logs/rank_trials/{search}.log",
    benchmark:
        "logs/benchmarks/rank_trials/{search}.tsv"
    conda:
        "../envs/learn.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        trials=searches.listed,
        protocol=searches.protocol,
        label=label_of_task,
        seed=lookup(dpath="seed", within=config),
        code=code_of("rank_trials", metrics=[study.evaluation.main_metric]),
    script:
        "../workflow_scripts/rank_trials.py"


# All cells in one job that takes every core: times measured beside another job would be those of both.
rule check_resources:
    input:
        weights=searches.weights,
    output:
        resources="results/studies/{search}/resources.parquet",
        origin="results/studies/{search}/resources.parquet.origin.json",
    log:
        "logs/check_resources/{search}.log",
    benchmark:
        "logs/benchmarks/check_resources/{search}.tsv"
    conda:
        "../envs/learn.yaml"
    threads: lambda w: share_of_cores(1, most=16)
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=0,
    params:
        cells=searches.cells,
        limits=searches.limits,
        runs=FOLDERS.runs,
        code=code_of(
            "check_resources",
            methods=searches.plugins("methods"),
            encoders=searches.plugins("encoders"),
            views=searches.plugins("views"),
            optimizers=searches.plugins("optimizers"),
            schedules=searches.plugins("schedules"),
        ),
    script:
        "../workflow_scripts/check_resources.py"

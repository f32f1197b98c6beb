"""Which training patients count as labelled at one fraction, for every repetition."""

import pandas as pd

from scanloom.splitting.fractions import draw_fraction, labelled_patients
from scanloom.step_log import log_to

if __name__ == "__main__":
    log_to(snakemake.log[0])
    params = snakemake.params
    images = pd.concat([pd.read_parquet(path) for path in snakemake.input.images], ignore_index=True)
    where = f"labels of task {snakemake.wildcards.task}"
    patients = labelled_patients(images, params.label["column"], params.label["classes"], where)
    fraction = draw_fraction(patients, float(snakemake.wildcards.fraction), [params.seed + s for s in params.seeds])
    fraction["seed"] -= params.seed
    fraction.to_parquet(snakemake.output.fraction, index=False)
    print(fraction.groupby("seed").size().to_string())

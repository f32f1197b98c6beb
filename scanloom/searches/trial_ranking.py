"""Which trial of a search is best on validation, and which others cannot be told apart from it.

Scores are means over pretrainings and draws; intervals resample validation patients and, where there are several
pretrainings, widen by their spread (statistics.py). Among the settings that cannot be told apart from the best is the
truly best one in 95 % of searches, however many there are (`_tied`). The best of many is partly the luckiest: its score
is too high, and the penalty or the update that was chosen on the same validation images makes it higher still. That is
why a search is read for a setting, and the study then measures that setting on test.
"""

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from scanloom import plugins
from scanloom.downstream.aligned_predictions import align
from scanloom.downstream.evaluation import bounds_of
from scanloom.downstream.statistics import (
    CONFIDENCE,
    patient_weights,
    percentile_interval,
    seed_deviates,
    two_level_draws,
)
from scanloom.searches.trials import FINISHED

CURVE_POINTS = 200  # of each curve that the report draws
RESULT_COLUMNS = ["final_loss", "rankme", "embedding_std", "collapsed", "parameters", "epochs", "seconds"]
ADVICE_COLUMNS = ["suggested", "steepest_at", "lowest_at", "rose"]


def rank(
    trials: Sequence[dict],
    predictions: dict[str, pd.DataFrame],
    classes: Sequence[str],
    *,
    kind: str,
    level: str,
    aggregate: str,
    metric: str,
    arms: Sequence[str],
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """One row per setting, the best first; settings that did not finish come last with their reason.

    trials: id, setting, number, name, values, seed, and the result of `trials.run_trial`. predictions: trial id ->
    validation predictions. The first of `arms` ranks. Columns: rank (0: none), setting, number, name, values (JSON),
    trials, outcome, reason; per arm <arm>, <arm>_low, <arm>_high, <arm>_seeds (JSON, one score per pretraining);
    behind, behind_low, behind_high (how far the setting lies behind the best, paired; positive is worse), tied (see
    `_tied`), and means of RESULT_COLUMNS. Intervals end where the metric does. Where no trial finished no row has a
    rank or a score.
    """
    table = _settings_table(trials)
    finished = table[table.outcome == FINISHED].setting.tolist()
    if not finished:
        missing = [f"{arm}{what}" for arm in arms for what in ("", "_low", "_high")]
        unknown = dict.fromkeys([*missing, "behind", "behind_low", "behind_high"], np.nan)
        texts = dict.fromkeys([f"{arm}_seeds" for arm in arms], "[]")
        return table.assign(**unknown, **texts, tied=False, rank=0)
    rows = _stacked(predictions, trials, set(finished))
    aligned = align(rows, classes, kind, level, aggregate, split="validation")
    compute = plugins.load("metrics", metric).compute
    sign = 1.0 if plugins.load("metrics", metric).HIGHER_IS_BETTER else -1.0
    weights = patient_weights(int(aligned.patients.max()) + 1, resamples, seed)[:, aligned.patients]
    everyone = np.ones((1, len(aligned.labels)))
    pretrainings = sorted({trial["seed"] for trial in trials})
    deviates = seed_deviates(len(pretrainings), resamples, seed)
    draws_of, columns, bounds = {}, {}, bounds_of(metric, len(classes))
    for place, (setting, arm) in enumerate(zip(aligned.arms.method, aligned.arms.schedule, strict=True)):
        scores, resampled = (
            np.stack([compute(aligned.labels, p, w) for p in aligned.probabilities[place]]).astype(float)
            for w in (everyone, weights)
        )
        # Draws of labels vary within a pretraining: averaged first, so that only pretrainings widen the interval.
        scores = scores.reshape(len(pretrainings), -1).mean(axis=1)
        resampled = resampled.reshape(len(pretrainings), -1, resamples).mean(axis=1)
        draws = two_level_draws(resampled, scores, deviates)
        low, high = np.clip(percentile_interval(draws), *bounds)
        draws_of[setting, arm] = draws
        columns.setdefault(setting, {}).update(
            {arm: scores.mean(), f"{arm}_low": low, f"{arm}_high": high, f"{arm}_seeds": json.dumps(scores.tolist())}
        )
    table = table.join(pd.DataFrame.from_dict(columns, orient="index"), on="setting")
    gains = {setting: sign * draws for (setting, arm), draws in draws_of.items() if arm == arms[0]}
    return _ranked(table, gains, arms[0], sign, float(np.ptp(bounds)))


def _ranked(table: pd.DataFrame, gains: dict, arm: str, sign: float, largest: float) -> pd.DataFrame:
    """In order, with the paired distance of every setting to the best.

    gains: setting -> draws [resamples] of its score, more is better. largest: difference that the metric can have.
    """
    table = table.assign(_key=-sign * table[arm]).sort_values(["_key", "number"], na_position="last", kind="stable")
    table = table.drop(columns="_key").reset_index(drop=True)
    best = table.setting.iloc[0]
    scores = {row.setting: sign * getattr(row, arm) for row in table.itertuples() if row.setting in gains}
    behind = {"behind": [], "behind_low": [], "behind_high": [], "tied": []}
    for row in table.itertuples():
        if row.outcome != FINISHED:
            distance, low, high, tied = np.nan, np.nan, np.nan, False
        elif row.setting == best:
            distance, low, high, tied = 0.0, 0.0, 0.0, True
        else:
            distance = sign * (table[arm].iloc[0] - getattr(row, arm))
            low, high = np.clip(percentile_interval(gains[best] - gains[row.setting]), -largest, largest)
            tied = _tied(row.setting, scores, gains)
        for name, value in zip(behind, (distance, low, high, tied), strict=True):
            behind[name].append(value)
    ranks = np.where(table.outcome == FINISHED, np.arange(1, len(table) + 1), 0)
    return table.assign(rank=ranks, **behind)


def _tied(setting: str, scores: dict[str, float], gains: dict[str, np.ndarray]) -> bool:
    """Whether the setting may be the best of all.

    Comparison with the best (Hsu, Annals of Statistics 9 (1981) 1026-1034), with the draws in place of normal theory:
    it may not where the best score is ahead by more than the setting, were it the best, falls behind the luckiest of
    the others in 95 % of draws.
    """
    others = [name for name in scores if name != setting]
    behind = np.stack([gains[name] - gains[setting] - (scores[name] - scores[setting]) for name in others])
    margin = np.nanquantile(behind.max(axis=0), CONFIDENCE)
    return bool(max(scores[name] for name in others) - scores[setting] <= margin)


def advise(trials: Sequence[dict]) -> pd.DataFrame:
    """One row per learning-rate range test, in the order of the settings, with what its curve says."""
    rows = [{**_about(trial), **{name: trial.get(name) for name in ADVICE_COLUMNS}} for trial in trials]
    table = pd.DataFrame(rows).sort_values(["number", "seed"], kind="stable").reset_index(drop=True)
    numbers = [name for name in ADVICE_COLUMNS if name != "rose"]
    return table.astype({**dict.fromkeys(numbers, float), "rose": object}).assign(rose=table["rose"].eq(True))


def curves(trials: Sequence[dict], tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The trials' curves below each other, thinned: trial, number, name, seed, step, learning_rate, loss."""
    parts = []
    for trial in trials:
        curve = tables[trial["id"]]
        if not len(curve):
            continue
        places = np.unique(np.linspace(0, len(curve) - 1, min(len(curve), CURVE_POINTS)).astype(int))
        part = curve.iloc[places][["step", "learning_rate", "loss"]]
        about = {"trial": trial["id"], **{key: trial[key] for key in ("number", "name", "seed")}}
        parts.append(part.assign(**about))
    columns = ["trial", "number", "name", "seed", "step", "learning_rate", "loss"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _about(trial: dict) -> dict:
    kept = {name: trial[name] for name in ("number", "setting", "name", "seed", "outcome", "reason")}
    return {"trial": trial["id"], **kept, "values": json.dumps(trial["values"])}


def _settings_table(trials: Sequence[dict]) -> pd.DataFrame:
    """One row per setting. A setting counts as finished when all of its pretrainings did."""
    rows = []
    for _, group in pd.DataFrame(list(trials)).groupby("setting", sort=False):
        failed = group[group.outcome != FINISHED]
        first = failed.iloc[0] if len(failed) else group.iloc[0]
        row = {name: first[name] for name in ("setting", "number", "name", "outcome", "reason")}
        row |= {"values": json.dumps(first["values"]), "trials": len(group)}
        row |= {name: group[name].astype(float).mean() if name in group else np.nan for name in RESULT_COLUMNS}
        rows.append(row)
    return pd.DataFrame(rows)


def _stacked(predictions: dict, trials: Sequence[dict], finished: set[str]) -> pd.DataFrame:
    """All validation predictions as arms: the setting stands for the method, pretraining and draw for the seed.

    A setting that no pretraining seed changes (see `studies.trials`) has one trial, which then stands for every seed.
    """
    seeds, counts = sorted({trial["seed"] for trial in trials}), Counter(trial["setting"] for trial in trials)
    draws = sorted({seed for table in predictions.values() if len(table) for seed in table.seed.unique()})
    parts = []
    for trial in trials:
        if trial["id"] in predictions and trial["setting"] in finished:
            table = predictions[trial["id"]]
            for seed in seeds if counts[trial["setting"]] == 1 else [trial["seed"]]:
                # Pretraining first, so that its draws stand side by side.
                order = seeds.index(seed) * len(draws) + np.searchsorted(draws, table.seed)
                parts.append(table.assign(method=trial["setting"], seed=order))
    return pd.concat(parts, ignore_index=True)

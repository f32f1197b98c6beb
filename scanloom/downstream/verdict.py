"""What the study found, in sentences: evidence, no evidence, or not testable.

Every sentence is built from the finding of a paired comparison after Holm and from its interval, never from two means.
Labels are said to be saved only at fractions with evidence of a gain, and only as far as the baseline's curve reaches.
Methods that pretrain with labels are references: their sentence speaks of scores and never of labels saved.
"""

import pandas as pd

from scanloom import plugins
from scanloom.downstream.evaluation import AGAINST, ALPHA, FOR, NONE, NOT_TESTABLE, Evaluation

MIXED = "evidence for and against"
ONE_PRETRAINING = (
    "Each method was pretrained once: how much pretrainings differ from each other is not in the intervals."
)

WEAK_FROZEN_BASELINE = (
    "A frozen arm is compared with an untrained frozen encoder, which few would use: what pretraining is worth in use "
    "is the finetuned comparison."
)


def verdict(evaluation: Evaluation, task: str, metric: str = "auroc") -> dict:
    """The verdict of one task, ready for JSON.

    headline: one sentence; finding: over all methods that pretrain without labels; sentences: one per method and
    schedule (method, schedule, uses_labels, finding, text, fractions: the numbers behind it); baseline: its value at
    each schedule and fraction with text; notes: what the intervals do and do not cover. Raises ValueError for a metric
    that was not evaluated.
    """
    if metric not in evaluation.facts["metrics"]:
        raise ValueError(f"metric '{metric}' was not evaluated: {', '.join(evaluation.facts['metrics'])}")
    sentences = _sentences(evaluation, metric)
    unlabelled = [sentence for sentence in sentences if not sentence["uses_labels"]]
    return {
        "task": task,
        "metric": metric,
        "finding": _summary([row["finding"] for sentence in unlabelled for row in sentence["fractions"]]),
        "headline": _headline(task, unlabelled, evaluation.facts["baseline"]),
        "sentences": sentences,
        "baseline": _baseline(evaluation, metric),
        "notes": _notes(evaluation, metric),
        "test_patients": evaluation.facts["test_patients"],
        "test_items": evaluation.facts["test_items"],
        "seeds": len(evaluation.facts["seeds"]),
        "resamples": evaluation.facts["resamples"],
    }


def _sentences(evaluation: Evaluation, metric: str) -> list[dict]:
    comparisons = evaluation.comparisons[evaluation.comparisons.metric == metric]
    savings = evaluation.savings[evaluation.savings.metric == metric]
    found = []
    for (method, schedule), arms in comparisons.groupby(["method", "schedule"], sort=True):
        uses_labels = bool(arms.uses_labels.iloc[0])
        own = savings[(savings.method == method) & (savings.schedule == schedule)].set_index("fraction")
        rows = []
        for arm in arms.sort_values("fraction").itertuples():
            row = {
                name: _plain(getattr(arm, name)) for name in ("fraction", "difference", "low", "high", "p", "p_holm")
            }
            row |= {"finding": arm.finding, "reason": arm.reason, "holm_family": int(arm.holm_family)}
            row["savings"] = None if uses_labels else _saving(own.loc[arm.fraction], arm.finding)
            rows.append(row)
        finding = _summary([row["finding"] for row in rows])
        found.append(
            {
                "method": method,
                "schedule": schedule,
                "uses_labels": uses_labels,
                "finding": finding,
                "text": _text(evaluation, metric, method, schedule, uses_labels, finding, rows),
                "fractions": rows,
            }
        )
    return found


def _summary(findings: list[str]) -> str:
    """One finding for several: evidence if there is any at all, NOT_TESTABLE only if nothing was testable."""
    if FOR in findings and AGAINST in findings:
        return MIXED
    return next((kind for kind in (FOR, AGAINST, NONE) if kind in findings), NOT_TESTABLE)


def _saving(row: pd.Series, finding: str) -> dict:
    """Labels saved at one fraction, with the clause that says it or why it cannot be said."""
    numbers = {name: _plain(row[name]) for name in row.index if name.startswith(("baseline_labels", "saved", "factor"))}
    censored = {name: row[name] for name in ("censored", "low_censored", "high_censored")}
    said = False
    if finding != FOR:
        clause = "without evidence of a gain, no labels are said to be saved"
    elif row.reason or not row.text:
        clause = f"how many labels that saves cannot be said: {row.reason or 'the metric is undefined somewhere'}"
    else:
        said = True
        clause = f"{row.text}{_amount(row)}"
    return {"labelled_patients": _plain(row.labelled_patients), "said": said, "text": clause, **numbers, **censored}


def _amount(row: pd.Series) -> str:
    """ ": 31 saved (11 to 66), a factor of 3.2 (1.8 to 5.7)", as far as the baseline's curve says."""
    none_possible = "" if row.low_censored == "above" or row.saved_low > 0 else "; the interval includes none saved"
    if row.censored == "above":
        known = not row.low_censored and row.saved_low > 0
        at_least = f", with 97.5 % confidence at least {row.saved_low:.0f}" if known else none_possible
        return f": how many are saved lies beyond the baseline's curve{at_least}"
    if row.censored == "below":
        return ": none saved"
    low = "none" if row.low_censored else f"{row.saved_low:.0f}".replace("-", "−")
    saved = f"{low} or more" if row.high_censored else f"{low} to {row.saved_high:.0f}"
    if row.low_censored or row.high_censored:
        return f": {row.saved:.0f} saved ({saved}), a factor of {row.factor:.1f}{none_possible}"
    factor = f"{row.factor:.1f} ({row.factor_low:.1f} to {row.factor_high:.1f})"
    return f": {row.saved:.0f} saved ({saved}), a factor of {factor}{none_possible}"


def _text(
    evaluation: Evaluation, metric: str, method: str, schedule: str, uses_labels: bool, finding: str, rows: list[dict]
) -> str:
    facts = evaluation.facts
    name = plugins.load("metrics", metric).NAME
    opening = {
        FOR: f"evidence of a gain over {facts['baseline']}",
        AGAINST: f"evidence of a loss against {facts['baseline']}",
        MIXED: f"evidence of a gain over {facts['baseline']} at some fractions and of a loss at others",
        NONE: f"no evidence of a difference from {facts['baseline']}",
        NOT_TESTABLE: f"not testable against {facts['baseline']}",
    }[finding]
    role = " (reference: it is pretrained with labels and cannot save any)" if uses_labels else ""
    against = ", here an untrained encoder under the same linear probe" if schedule == "frozen" else ""
    parts = [f"{method}, {schedule}{role}: {opening}{against}."]
    reasons = {row["reason"] for row in rows}
    if finding == NOT_TESTABLE and len(reasons) == 1:
        parts.append(f"{_capital(reasons.pop())}.")
    else:
        parts.append(f"{_capital('; '.join(_clause(row, name) for row in rows))}.")
        family = max(row["holm_family"] for row in rows)
        parts.append(f"p after Holm over {_count(family, 'comparison')}.")
    if not uses_labels:
        parts += [f"At {percent(row['fraction'])}, {row['savings']['text']}." for row in rows if row["finding"] == FOR]
        if finding in (NONE, AGAINST):
            parts.append(f"{_capital(rows[0]['savings']['text'])}.")
    parts.append(f"{facts['test_patients']} test patients, {_count(len(facts['seeds']), 'seed')}.")
    return " ".join(parts)


def _clause(row: dict, name: str) -> str:
    at = f"at {percent(row['fraction'])} of the labels"
    if row["finding"] == NOT_TESTABLE:
        return f"{at} not testable: {row['reason']}"
    label = {FOR: "a gain", AGAINST: "a loss", NONE: "no evidence"}[row["finding"]]
    size = f"{name} {signed(row['difference'])}, 95 % interval {signed(row['low'])} to {signed(row['high'])}"
    return f"{at} {label} ({size}; p = {spoken_p(row['p_holm'])})"


def _headline(task: str, sentences: list[dict], baseline: str) -> str:
    if not sentences:
        return f"{task}: no method that pretrains without labels was compared with {baseline}."
    rows = [(sentence, row) for sentence in sentences for row in sentence["fractions"]]
    gains, losses = ([pair for pair in rows if pair[1]["finding"] == kind] for kind in (FOR, AGAINST))
    testable = [pair for pair in rows if pair[1]["finding"] != NOT_TESTABLE]
    if not testable:
        return f"{task}: whether pretraining saves labels is not testable here: {rows[0][1]['reason']}."
    if not gains and not losses:
        return f"{task}: no evidence that pretraining saves labels ({_count(len(testable), 'comparison')} tested)."
    loss = f"evidence that pretraining hurts: {_places(losses)}" if losses else ""
    if not gains:
        return f"{task}: {loss}; no evidence that it saves labels."
    # The fraction with the fewest labels is the claim a reader comes for; finetuned is how a model would be used.
    sentence, row = min(gains, key=lambda pair: (pair[0]["schedule"] != "finetuned", pair[1]["fraction"]))
    saving = f" {sentence['method']} {sentence['schedule']} at {percent(row['fraction'])}: {row['savings']['text']}."
    return f"{task}: evidence that pretraining helps: {_places(gains)}{'; ' + loss if loss else ''}.{saving}"


def _places(pairs: list[tuple[dict, dict]]) -> str:
    """ "barlow_twins finetuned at 1 % and 10 %, frozen at ..."."""
    fractions: dict[str, list[str]] = {}
    for sentence, row in pairs:
        fractions.setdefault(f"{sentence['method']} {sentence['schedule']}", []).append(percent(row["fraction"]))
    return ", ".join(f"{arm} at {_listed(found)} of the labels" for arm, found in fractions.items())


def _baseline(evaluation: Evaluation, metric: str) -> list[dict]:
    """The baseline's own values: they are always shown beside the differences."""
    table = evaluation.metrics
    table = table[(table.metric == metric) & (table.method == evaluation.facts["baseline"])]
    rows = []
    for arm in table.sort_values(["schedule", "fraction"]).itertuples():
        patients = _plain(arm.labelled_patients)
        row = {
            name: _plain(getattr(arm, name)) for name in ("fraction", "value", "low", "high", "seed_min", "seed_max")
        }
        given = "" if patients is None else f" with {patients:.0f} labelled patients"
        value = (
            "undefined" if row["value"] is None else f"{arm.value:.3f} (95 % interval {arm.low:.3f} to {arm.high:.3f})"
        )
        text = f"{arm.method}, {arm.schedule}, {percent(arm.fraction)} of the labels{given}: "
        text += f"{plugins.load('metrics', metric).NAME} {value}"
        rows.append({"schedule": arm.schedule, "labelled_patients": patients, **row, "text": text})
    return rows


def _notes(evaluation: Evaluation, metric: str) -> list[str]:
    facts = evaluation.facts
    compared = evaluation.comparisons[evaluation.comparisons.metric == metric]
    seeds = len(facts["seeds"])
    widened = f", widened by the spread between {seeds} seeds (t distribution)" if seeds > 1 else ""
    notes = [
        f"Intervals: {facts['resamples']} bootstrap resamples of the {facts['test_patients']} test patients, the same "
        f"for all arms{widened}. They are not adjusted for the number of comparisons; p-values are (Holm).",
        "No evidence is not evidence of no difference: the interval says which differences remain possible.",
        ONE_PRETRAINING,
    ]
    if (compared.schedule == "frozen").any():
        notes.append(WEAK_FROZEN_BASELINE)
    if 1 < seeds < 5 and (compared.finding == NONE).any():
        notes.append(
            f"The spread between {seeds} seeds is itself poorly known, which makes intervals wide: five seeds or more "
            "find smaller differences."
        )
    undefined = int(compared.undefined_resamples.max()) if len(compared) else 0
    if undefined:
        notes.append(
            f"The metric is undefined in up to {undefined} of {facts['resamples']} resamples (a class missing)."
        )
    return notes


def percent(fraction: float) -> str:
    """0.01 as "1 %"."""
    return f"{100 * fraction:g} %"


def signed(value: float) -> str:
    """A difference with its sign: "+0.051", "−0.010"; a true zero and what rounds to it has none."""
    text = f"{value:+.3f}".replace("-", "−")
    return "0.000" if text[1:] == "0.000" else text


def spoken_p(value: float) -> str:
    """A p-value with three decimals, or more where rounding would move it across 0.05."""
    if value < 0.001:
        return "< 0.001"
    return f"{value:.3f}" if (round(value, 3) < ALPHA) == (value < ALPHA) else f"{value:.6f}".rstrip("0")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _plain(value: float) -> float | None:
    """A float for JSON; None for NaN."""
    return None if pd.isna(value) else float(value)

"""The answer: generated sentences from paired intervals, the numbers behind them, and always the baseline beside."""

import pandas as pd

from scanloom.downstream.evaluation import FOR
from scanloom.report import wording
from scanloom.report.section import Heading, KeyNumber, KeyNumbers, Note, Section, Statement, Table
from scanloom.report.study_tables import StudyTables

TITLE = "Verdict"
ORDER = 10
LEAD = (
    "How many labels does pretraining save on these images? The sentences are generated from paired intervals, "
    "corrected for the number of comparisons; nobody wrote them by hand."
)


def build(tables: StudyTables) -> Section:
    """Per task: headline, key numbers, one sentence per method and schedule, scores beside the baseline."""
    blocks = []
    for task in tables.tasks:
        verdict = tables.record(f"{task}/evaluation/verdict.json")
        if len(tables.tasks) > 1 or verdict is None:
            blocks.append(Heading(wording.title(task)))
        if verdict is None:
            blocks.append(Note("This task has no verdict: it was not evaluated, or its verdict was not given."))
            continue
        blocks.append(Statement(*_split(verdict["headline"]), _tone(verdict["finding"]), big=True))
        numbers = _key_numbers(tables, task, verdict)
        if numbers:
            blocks.append(numbers)
        for sentence in verdict["sentences"]:
            blocks.append(Statement(*_split(sentence["text"]), _tone(sentence["finding"]), badge=sentence["finding"]))
        blocks += _beside_baseline(tables, task, verdict)
        blocks.append(Note(" ".join(verdict["notes"])))
    return Section(TITLE, LEAD, tuple(blocks))


def _split(text: str) -> tuple[str, str]:
    """What was found, and the numbers behind it: the first sentence and the rest."""
    first, dot, rest = text.partition(". ")
    return (f"{first}.", rest) if dot else (text, "")


def _tone(finding: str) -> str:
    return wording.TONE_OF_FINDING.get(finding, "plain")


def _sources(task: str) -> tuple[str, ...]:
    return tuple(f"{task}/evaluation/{part}" for part in ("verdict.json", "metrics.parquet", "comparisons.parquet"))


def _key_numbers(tables: StudyTables, task: str, verdict: dict) -> KeyNumbers | None:
    """The fewest labels of one arm: its score, the baseline's beside it, their difference, and what it saves.

    The arm follows from the plan, not from the results: finetuned before frozen, the method that the study compares
    before others. Picking the best one here would be choosing the winner after the race.
    """
    compared = tables.config["explanation"]["compare"]
    sentences = [s for s in verdict["sentences"] if not s["uses_labels"]]
    metrics = tables.evaluation(task, "metrics")
    if not sentences or metrics is None:
        return None
    sentence = min(sentences, key=lambda s: (s["schedule"] != "finetuned", s["method"] != compared, s["method"]))
    row = min(sentence["fractions"], key=lambda row: row["fraction"])
    own, base = (
        _score(metrics, verdict["metric"], method, sentence["schedule"], row["fraction"])
        for method in (sentence["method"], "from_scratch")
    )
    metric = wording.metric(verdict["metric"])
    at = f"{sentence['schedule']}, {wording.fraction(row['fraction'])} of labels"
    numbers = [
        KeyNumber(
            f"{metric}, {wording.title(sentence['method'])}, {at}",
            wording.number(own.value),
            wording.bounds(own.low, own.high),
        ),
        KeyNumber(f"{metric}, from scratch, {at}", wording.number(base.value), wording.bounds(base.low, base.high)),
        KeyNumber(
            "difference, paired",
            wording.signed(row["difference"]),
            f"{wording.bounds(row['low'], row['high'])} {row['finding']}",
            _tone(row["finding"]),
        ),
        _saved(row, at),
        KeyNumber(
            "test patients",
            wording.count(verdict["test_patients"]),
            f"{verdict['test_items']:,} items, {verdict['seeds']} seeds",
        ),
    ]
    return KeyNumbers(tuple(numbers), _sources(task))


def _score(metrics: pd.DataFrame, metric: str, method: str, schedule: str, fraction: float) -> pd.Series:
    chosen = (metrics.metric == metric) & (metrics.method == method) & (metrics.schedule == schedule)
    return metrics[chosen & (metrics.fraction == fraction) & (metrics.split == "test")].iloc[0]


def _saved(row: dict, at: str) -> KeyNumber:
    """Labelled patients saved; only where the verdict says so."""
    saving, what = row["savings"], f"labelled patients saved, {at}"
    if not saving["said"]:
        why = saving["text"] if row["finding"] == FOR else f"{row['finding']} at this fraction; for others see below"
        return KeyNumber(what, "–", why)
    used = f"with {wording.count(saving['labelled_patients'])} labelled patients"
    if saving["censored"] == "above":
        return KeyNumber(what, "beyond the curve", f"{used}: more than from scratch reaches with all", "good")
    if saving["censored"] == "below":
        return KeyNumber(what, "0", used)
    low = "0" if saving["low_censored"] else wording.count(saving["saved_low"])
    high = "more" if saving["high_censored"] else wording.count(saving["saved_high"])
    return KeyNumber(what, wording.count(saving["saved"]), f"({low} to {high}) {used}", "good")


def _beside_baseline(tables: StudyTables, task: str, verdict: dict) -> list:
    metrics = tables.evaluation(task, "metrics")
    if metrics is None:
        return [Note("The metrics table was not given, so scores cannot stand beside the baseline's here.")]
    rows = []
    for sentence in verdict["sentences"]:
        for row in sentence["fractions"]:
            key = (verdict["metric"], sentence["schedule"], row["fraction"])
            own = _score(metrics, key[0], sentence["method"], *key[1:])
            base = _score(metrics, key[0], "from_scratch", *key[1:])
            reference = " †" if sentence["uses_labels"] else ""
            rows.append(
                (
                    f"{wording.title(sentence['method'])}, {sentence['schedule']}{reference}",
                    f"{wording.fraction(row['fraction'])} ({wording.count(own.labelled_patients)})",
                    wording.interval(own.value, own.low, own.high),
                    wording.interval(base.value, base.low, base.high),
                    f"{wording.signed(row['difference'])} {wording.bounds(row['low'], row['high'])}",
                    row["finding"],
                )
            )
    table = Table(
        title=f"{wording.metric(verdict['metric'])} beside the baseline",
        columns=("Arm", "Labels", "Score", "From scratch", "Difference", "Finding"),
        rows=tuple(rows),
        caption="Means over seeds on test, with 95 % intervals over patients and seeds. †: a reference, pretrained "
        "with labels; it shows what is possible, and saves none. In brackets: labelled patients.",
        sources=_sources(task),
        numeric=frozenset(["Labels"]),
    )
    return [table]

"""The report: what stands on the page, what must not, and that it looks the same twice."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import report_study

from scanloom import plugins
from scanloom.report import assemble
from scanloom.report.section import Cards, Figure, KeyNumbers, Note, Statement, Table
from scanloom.report.sections import data_overview, training, verdict
from scanloom.report.study_tables import StudyTables

SECTIONS = plugins.names("report/sections")
ORIGIN = re.compile(r"\w+ · config \w{7} · data \w{7}( \+\d+ more)? · code \w{7}")
VOID = {"meta", "link", "img", "br"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Tables, built sections, the page and the folder of figures of one study; drawing it takes seconds."""
    folder = tmp_path_factory.mktemp("report")
    tables = report_study.build(folder)
    sections = assemble.build_sections(tables)
    page = assemble.render(tables, sections)
    return tables, sections, page, folder


def blocks(sections, *kinds):
    return [block for section in sections.values() for block in section.blocks if isinstance(block, kinds)]


class Outline(HTMLParser):
    """Headings in order, every attribute, the visible text, and whether tags close in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.wrong, self.headings, self.attributes, self.text = [], [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_is_complete(study, name):
    _, sections, _, _ = study
    module = plugins.load("report/sections", name)
    assert module.__doc__
    assert isinstance(module.ORDER, int)
    assert sections[name].title == module.TITLE
    assert sections[name].lead
    assert sections[name].blocks


def test_the_verdict_comes_first_and_provenance_last():
    names = assemble.section_names(None)
    assert names[0] == "verdict"
    assert names[-1] == "provenance"
    orders = [plugins.load("report/sections", name).ORDER for name in names]
    assert len(set(orders)) == len(orders)


def test_only_the_chosen_sections_are_shown_in_their_fixed_order(study):
    assert assemble.section_names(["leakage", "verdict"]) == ["verdict", "leakage"]


def test_page_is_well_formed_with_one_main_heading_and_no_skipped_level(study):
    _, sections, page, _ = study
    outline = Outline(page)
    assert outline.wrong == []
    assert outline.open == []
    assert outline.headings.count(1) == 1
    assert outline.headings.count(2) == len(sections)
    assert np.diff(outline.headings).max() == 1


def test_page_asks_nothing_of_the_network(study):
    _, _, page, _ = study
    outline = Outline(page)
    for tag, name, value in outline.attributes:
        if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert value.startswith(("#", "data:")), (tag, name, value[:60])
    assert re.search(r"https?://|<script|@import|//cdn", page) is None
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_ids_are_unique_and_every_link_has_its_target(study):
    _, _, page, _ = study
    attributes = Outline(page).attributes
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for _, name, value in attributes if name in ("href", "xlink:href") and value.startswith("#")}
    assert targets <= set(ids)


def test_pictures_have_a_text_alternative(study):
    _, _, page, _ = study
    outline = Outline(page)
    images = [value for tag, name, value in outline.attributes if (tag, name) == ("img", "alt")]
    assert len(images) == page.count("<img ")
    assert all(images)
    drawings = [value for tag, name, value in outline.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(drawings) == page.count("<svg ")
    assert all(len(words) > 20 for words in drawings)


def test_every_figure_says_what_to_look_at_and_what_a_bad_one_looks_like(study):
    _, sections, page, _ = study
    figures = blocks(sections, Figure, Cards)
    assert len(figures) > 8
    for figure in figures:
        assert figure.caption
        assert len(figure.look) > 15
        assert len(figure.bad) > 15
    assert page.count("<b>A bad one:</b>") == len(figures)


def test_measured_figures_and_tables_carry_rule_and_fingerprints(study):
    tables, sections, page, _ = study
    for name, section in sections.items():
        if name in ("resources", "provenance"):  # benchmarks have no origin file; provenance is the list of origins
            continue
        for block in section.blocks:
            if isinstance(block, Figure | Cards | Table | KeyNumbers):
                assert block.sources, (name, block)
                for source in block.sources:
                    assert tables.has(source), source
                for line in assemble.origin_lines(tables, block.sources):
                    assert ORIGIN.fullmatch(line), (name, line)
                    assert line in page


def test_a_missing_origin_is_admitted(tmp_path):
    path = tmp_path / "results" / "phantom" / "splits.parquet"
    path.parent.mkdir(parents=True)
    pd.DataFrame({"patient_id": ["a"]}).to_parquet(path)
    tables = StudyTables({"phantom/splits.parquet": path}, report_study.config(), {})
    assert assemble.origin_lines(tables, ("phantom/splits.parquet",)) == ["origin of 1 file not recorded"]


def test_nothing_private_is_on_the_page(study):
    _, _, page, _ = study
    assert "very-secret-salt" not in page
    assert "jane.doe" not in page
    assert "…/scans" in page  # the folder's own name stays


def test_settings_hide_secrets_and_addresses_lose_user_and_query(tmp_path):
    values = {
        "api_token": "abc",
        "salt": None,
        "url": "https://user:pass@host/archive?key=1",
        "windows": "C:\\Users\\jo\\x",
    }
    text = StudyTables({}, values, {}).settings_text()
    assert "abc" not in text
    assert "pass" not in text
    assert "key=1" not in text
    assert "jo" not in text
    assert "salt: null" in text


def test_without_any_table_every_section_explains_why_it_is_empty(tmp_path):
    expected = {"bleed/evaluation/metrics.parquet": tmp_path / "absent.parquet"}
    tables = StudyTables(expected, report_study.config(), report_study.datasets())
    sections = assemble.build_sections(tables)
    assert set(assemble.section_names(None)) - set(sections) == {"made_images", "studies"}, "which studies may lack"
    for name, section in sections.items():
        assert any(isinstance(block, Note) and len(block.text) > 20 for block in section.blocks), name
        assert not any(isinstance(block, Figure | Cards) for block in section.blocks), name
    assert "bleed/evaluation/metrics.parquet" in assemble.render(tables, sections)


def test_three_classes_make_a_page_too(tmp_path):
    tables = report_study.build(tmp_path, classes=("none", "small", "large"))
    sections = assemble.build_sections(tables, ["verdict", "grad_cam", "calibration", "confusion", "data_overview"])
    assert len(blocks(sections, Figure, Cards)) == 7
    assert Outline(assemble.render(tables, sections)).wrong == []


def test_two_builds_are_equal_to_the_byte(study, tmp_path):
    tables, _, _, _ = study
    chosen = ["comparisons", "contact_sheet"]
    results = []
    for name in ("a", "b"):
        assemble.build_report(tables, chosen, tmp_path / name / "report.html", tmp_path / name / "figures")
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        results.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert len(results[0]) == 4
    assert results[0] == results[1]


def test_figures_are_written_by_name_and_old_ones_go(study, tmp_path):
    _, sections, _, _ = study
    (tmp_path / "old.png").write_bytes(b"x")
    names = assemble.write_figures(sections, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == set(names)
    assert {"bleed-label_efficiency", "bleed-grad_cam", "phantom-contact_sheet", "phantom-steps"} <= set(names)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_report_stays_small_and_a_cap_names_the_largest_sections(study, tmp_path):
    tables, _, page, _ = study
    assert len(page.encode()) < 2e6
    with pytest.raises(assemble.ReportTooLarge, match=r"allowed 0.05 MB.*contact_sheet.*report.contact_sheet_cases"):
        assemble.build_report(
            tables, ["contact_sheet", "leakage"], tmp_path / "r.html", tmp_path / "f", largest_mb=0.05
        )
    assert not (tmp_path / "r.html").exists()


def test_an_error_names_the_section_it_happened_in(study, monkeypatch):
    def broken(tables):
        raise ValueError("no luck")

    monkeypatch.setattr(data_overview, "build", broken)
    with pytest.raises(ValueError, match="no luck") as caught:
        assemble.build_sections(study[0], ["data_overview"])
    assert "data_overview" in caught.value.__notes__[0]


# Verdict


def test_headline_and_sentences_are_those_of_the_evaluation(study):
    tables, _, page, _ = study
    words = " ".join("".join(Outline(page).text).split())
    record = tables.record("bleed/evaluation/verdict.json")
    assert " ".join(record["headline"].split(". ")[0].split()) in words
    for sentence in record["sentences"]:
        assert sentence["text"].split(". ")[0] in words


def test_key_numbers_stand_beside_the_baseline_and_differ_by_the_paired_difference(study):
    _, sections, _, _ = study
    [numbers] = [block for block in sections["verdict"].blocks if isinstance(block, KeyNumbers)]
    own, base, difference, *_ = [float(item.value.replace("−", "-")) for item in numbers.numbers[:3]]
    assert own - base == pytest.approx(difference, abs=0.0011)
    assert "from scratch" in numbers.numbers[1].label
    assert "5 %" in numbers.numbers[0].label  # the fewest labels, as planned, not the best result


def test_no_saving_is_shown_without_evidence():
    saving = {"said": False, "censored": "", "saved": 80.0, "labelled_patients": 7.0, "text": "without evidence"}
    row = {"finding": "no evidence", "savings": saving}
    assert verdict._saved(row, "at 1 %").value == "–"
    for finding in ("no evidence", "not testable"):
        detail = verdict._saved(row | {"finding": finding}, "at 1 %").detail
        assert detail == f"{finding} at this fraction; for others see below"
    assert verdict._saved(row | {"finding": "evidence for"}, "at 1 %").detail == "without evidence"
    row["savings"] |= {"said": True, "censored": "above"}
    assert verdict._saved(row, "at 1 %").value == "beyond the curve"


def test_an_equal_method_gets_no_green(study, tmp_path):
    tables, _, _, _ = study
    record = tables.record("bleed/evaluation/verdict.json")
    null = {**record, "finding": "no evidence"}
    null["sentences"] = [{**sentence, "finding": "no evidence"} for sentence in record["sentences"]]
    path = tmp_path / "verdict.json"
    path.write_text(json.dumps(null))
    other = StudyTables({"bleed/evaluation/verdict.json": path}, tables.config, tables.datasets)
    tones = [block.tone for block in verdict.build(other).blocks if isinstance(block, Statement)]
    assert set(tones) == {"open"}


# Data


def test_books_that_do_not_balance_are_called_out():
    books = {"found": 10, "used": 7, "excluded": 2, "reasons": {"localizer": 2}}
    [note] = data_overview._balance("phantom", books)
    assert note.tone == "bad"
    good, figure = data_overview._balance("phantom", {**books, "found": 9})
    assert good.tone == "good"
    assert isinstance(figure, Figure)


def test_class_table_counts_every_image_once(study):
    tables, sections, _, _ = study
    [table] = [b for b in sections["data_overview"].blocks if isinstance(b, Table) and b.title.startswith("Patients")]
    assert sum(int(row[-1].replace(",", "")) for row in table.rows) == len(tables.images("phantom"))


def test_duplicates_across_splits_are_called_out(study):
    _, sections, _, _ = study
    [note] = [block for block in sections["leakage"].blocks if isinstance(block, Note)]
    assert note.tone == "bad"
    assert note.text.startswith("1 pair of copies across splits (2 images) in bleed.")
    [cards] = [block for block in sections["leakage"].blocks if isinstance(block, Cards)]
    assert [card.tone for card in cards.cards] == ["bad", "plain", "plain"]
    [counts, listed] = [block for block in sections["leakage"].blocks if isinstance(block, Table)]
    assert sum(int(row[-1]) for row in counts.rows) == 3
    assert len(listed.rows) == 1


def test_collapse_early_ends_retries_and_settings_of_its_own_are_called_out(study, monkeypatch):
    tables, _, _, _ = study
    trained = {method: None for method in ("barlow_twins", "supervised")}
    runs = {
        "barlow_twins": {"collapse_cause": "all images have one embedding: likely cause", "stopped": {"update": 90}},
        "supervised": {"stopped": {"update": 1200, "why": "loss is good enough"}, "retries": 2},
    }
    own = {"pretraining": {"overrides": {"supervised": {"learning_rate": 0.1, "batch": 8}}}}
    monkeypatch.setattr(tables, "record", lambda name: runs[name.split("/")[2]])
    monkeypatch.setattr(tables, "config", tables.config | own)
    notes = [(note.tone, note.text) for note in training._remarks(tables, "heads", trained)]
    assert notes[0][0] == "bad"
    assert notes[0][1].startswith("Barlow twins: the features collapsed. all images have one embedding: likely cause")
    assert notes[1][1] == "Supervised ended at update 1,200: loss is good enough."
    assert notes[2][1] == "Supervised went back to a checkpoint 2 times, each time to half the learning rate."
    assert notes[3][1] == "Supervised was trained with settings of its own: batch, learning_rate."
    assert len(notes) == 4


def test_benchmarks_are_summed_per_rule(study):
    tables, _, _, _ = study
    jobs = tables.benchmarks()
    assert jobs.rule.value_counts()["preprocess_chunk"] == 2
    assert jobs[jobs.rule == "preprocess_chunk"].job.tolist() == ["phantom-000", "phantom-001"]
    assert jobs.loc[jobs.rule == "preprocess_chunk", "max_rss"].isna().all()


def test_jobs_of_other_studies_in_the_folder_are_not_counted(study, tmp_path):
    tables, _, _, _ = study
    task, method = next(iter(tables.tasks)), next(iter(tables.config["pretraining"]["methods"]))
    search = next(iter(tables.config["studies"]))
    ours = [f"{task}-{method}-{tables.config['fractions'][0]:g}", f"{search}-0a1b2c", "phantom-000", "study"]
    others = [
        f"{task}-{method}-0.123",
        f"{task}-othermethod",
        "othertask",
        f"{ours[2][:-3]}{tables.config['chunks']:03d}",
    ]
    files = [tmp_path / "any_rule" / f"{job}.tsv" for job in ours + others]
    files[0].parent.mkdir()
    for file in files:
        file.write_text("s\tmax_rss\n1.0\t2.0\n")
    found = StudyTables({}, tables.config, tables.datasets, files).benchmarks()
    assert sorted(found.job) == sorted(ours)
    assert set(found.rule) == {"any_rule"}


def test_a_ragged_table_is_an_error():
    with pytest.raises(ValueError, match="1 cells in a row, 2 columns"):
        Table("T", ("A", "B"), (("1",),), "", ())


def test_made_images_stand_with_their_scores_and_the_traversal_begins_with_what_costs_most(study):
    _, sections, page, _ = study
    table, pictures, traversal = sections["made_images"].blocks[1:]
    assert table.rows == (("Barlow twins", "256", "3.200", "0.400", "0.700", "0.400", "1 %", "2 of 3"),)
    assert [card.title for card in pictures.cards] == ["Training images", "The same, reconstructed", "Made of noise"]
    assert [len(card.images) for card in pictures.cards] == [8] * 3
    assert traversal.cards[0].title == "Latent number 1, 3.50 nats"
    assert [label for label, _ in traversal.cards[0].images][::4] == ["−2.0", "0.0", "+2.0"]
    assert page.count("Latent number") == 1 + 3 * 10, "in the table's head, then card by card: title and alternatives"

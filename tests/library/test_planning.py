"""The plan of a study follows from its configuration alone."""

import pytest
import yaml

from scanloom import config, dataset_config, planning


@pytest.fixture
def study(root):
    return config.study_from(yaml.safe_load((root / "config.yaml").read_text()))


def test_a_study_is_hundreds_of_jobs_at_most_never_one_per_image(study):
    files = planning.chunk_names(study) + planning.prediction_stems(study)
    assert len(files) == study.chunks + len(study.pretraining.methods) * (1 + len(study.fractions))


def test_corpus_reads_training_shards_alone_where_a_task_measures(study):
    assert planning.corpus_splits(study, "heads") == {"phantom": ["train"]}
    assert planning.corpus_indexes(study, "heads") == ["results/phantom/shards/index.json"]


def test_references_are_the_methods_that_use_labels(study):
    assert planning.methods_with_labels(study) == ["supervised"]


def test_pretrainings_that_compute_share_the_cores(study):
    assert planning.trainings(study) == 2, "supervised and barlow_twins; from_scratch is what a seed builds"


def test_report_gets_no_salt(study):
    assert study.salt
    assert planning.public(study)["salt"] == "withheld"


def test_every_stamped_table_is_a_table_of_the_report(study):
    tables = set(planning.report_tables(study).values())
    stamped = planning.stamped(study)
    assert set(stamped) <= tables
    assert any("/predictions/" in path for path in stamped)


def test_source_seed_is_the_studys_where_the_source_leaves_it_open(study):
    assert planning.source_seed(study, {"settings": {"seed": None}}) == study.seed
    assert planning.source_seed(study, {"settings": {"seed": 5}}) == 5
    assert planning.source_seed(study, {"settings": {"path": "x"}}) is None


def test_label_tables_in_a_folder_of_the_users_are_watched(tmp_path, root):
    """Somebody corrects them; those that were downloaded are what was downloaded."""
    dataset = dataset_config.load_dataset("ham10000", root / "datasets").model_dump(mode="json")
    dataset["source"]["settings"]["path"] = str(tmp_path)
    assert planning.label_files_here(dataset) == []
    (tmp_path / dataset["labels"]["table"].replace("*", "x")).write_text("image_id\n")
    assert planning.label_files_here(dataset) == [str(tmp_path / dataset["labels"]["table"].replace("*", "x"))]
    other = dataset_config.load_dataset("pneumoniamnist", root / "datasets").model_dump(mode="json")
    assert planning.label_files_here(other) == []


def test_the_code_of_a_generators_optimizer_is_the_pretrainings_too():
    budget, sgd = {"optimizer": {"name": "adamw", "settings": {}}}, {"name": "sgd", "settings": {}}
    assert planning.optimizer_names(budget, {}) == ["adamw"]
    assert planning.optimizer_names(budget, {"generator_optimizer": None}) == ["adamw"]
    assert planning.optimizer_names(budget, {"generator_optimizer": sgd}) == ["adamw", "sgd"]

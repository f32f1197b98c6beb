"""Every source has the same shape, so that the workflow and the command line need no list of them."""

import inspect

import pytest

from scanloom import plugins
from scanloom.sources._report import FetchError, FetchPlan, FetchReport

MINIMAL = {
    "phantom": {"patients": 4, "matrix": 32, "slices_per_series": 4, "seed": 3},
    "sklearn_digits": {},
    "local_folder": {"path": "."},
    "http": {"files": [{"url": "http://127.0.0.1:9/a.zip", "md5": "0" * 32, "bytes": 10}]},
    "gcs": {"bucket": "scans", "anonymous": True},
    "dicomweb": {"url": "http://127.0.0.1:9/dicom-web", "filters": {"ModalitiesInStudy": "CT"}},
}
OFFLINE = ["phantom", "sklearn_digits", "local_folder"]
SOURCES = plugins.names("sources")


def settings_of(name):
    return plugins.settings("sources", name, MINIMAL[name])


@pytest.mark.parametrize("name", SOURCES)
def test_source_has_the_whole_interface(name, tmp_path):
    source, settings = plugins.load("sources", name), settings_of(name)
    assert source.__doc__
    assert isinstance(source.PROGRESS_UNIT, str)
    assert source.LABEL_COLUMNS(settings) is None or all(source.LABEL_COLUMNS(settings))
    assert source.check(settings) == []
    assert list(inspect.signature(source.plan).parameters) == ["settings", "destination"]
    parameters = inspect.signature(source.fetch).parameters
    assert list(parameters)[:4] == ["settings", "destination", "seed", "progress"]
    assert parameters["seed"].kind == inspect.Parameter.KEYWORD_ONLY
    if name != "local_folder":
        assert source.root(settings, tmp_path).is_relative_to(tmp_path), "downloads stay in their folder"


@pytest.mark.parametrize("name", SOURCES)
def test_settings_refuse_unknown_keys_and_change(name):
    with pytest.raises(plugins.BadSettings, match="unknown key 'pacth'"):
        plugins.settings("sources", name, {**MINIMAL[name], "pacth": 1})
    settings = settings_of(name)
    with pytest.raises(Exception, match="frozen"):
        setattr(settings, next(iter(type(settings).model_fields)), None)
    assert type(settings)(**settings.model_dump(mode="json")) == settings, "the workflow passes settings as JSON"
    undescribed = [key for key, field in type(settings).model_fields.items() if not field.description]
    assert not undescribed


@pytest.mark.parametrize("name", OFFLINE)
def test_plan_writes_nothing_and_tells_what_the_fetch_then_does(name, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/1.dcm").write_bytes(b"1")
    monkeypatch.chdir(tmp_path / "here")
    source, settings, destination = plugins.load("sources", name), settings_of(name), tmp_path / "data"
    plan = source.plan(settings, destination)
    assert isinstance(plan, FetchPlan)
    assert not destination.exists()
    seen = []
    report = source.fetch(settings, destination, seed=0, progress=lambda done, total: seen.append((done, total)))
    assert isinstance(report, FetchReport)
    assert report.root == plan.root == source.root(settings, destination)
    assert plan.files in (None, report.files)
    assert seen[-1][0] == seen[-1][1]
    assert report.fetched + report.reused == report.files
    found = [path for path in report.root.rglob("*") if path.is_file()]
    assert (len(found), sum(path.stat().st_size for path in found)) == (report.files, report.bytes)
    again = source.fetch(settings, destination, seed=0)
    assert (again.fetched, again.reused) == (0, report.files)
    after = source.plan(settings, destination)
    assert (after.files_here, after.bytes_here) == (report.files, report.bytes)


@pytest.mark.parametrize("name", ["http", "dicomweb"])
def test_absent_host_is_one_clear_error(name, tmp_path):
    quick = plugins.settings("sources", name, {**MINIMAL[name], "retries": 0, "backoff_s": 0, "timeout_s": 5})
    with pytest.raises(FetchError, match="the connection broke"):
        plugins.load("sources", name).fetch(quick, tmp_path, seed=None)
    assert not (tmp_path / "images").exists()

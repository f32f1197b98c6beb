"""`scanloom download` as a user runs it: what it prints, what it fetches, and what it asks for first."""

import hashlib

import pytest
import real_servers
import yaml

from scanloom.__main__ import main
from scanloom.commands._words import bytes_in_words

LICENCE = "For research only; no redistribution"


@pytest.fixture
def lesions(tmp_path, monkeypatch):
    """A dataset file whose one image is on a server; writes the file with changed keys, gives the server."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "served").mkdir()
    (tmp_path / "served/lesion.png").write_bytes(b"a picture" * 1000)
    dataset = {
        "name": "lesions",
        "title": "Lesions",
        "licence": LICENCE,
        "citation": "Doe et al. (2020)",
        "homepage": "https://example.org",
        "reader": {"image_files": {}},
        "group": None,
    }
    with real_servers.web_server(tmp_path / "served") as server:
        sha256 = hashlib.sha256(b"a picture" * 1000).hexdigest()
        dataset["source"] = {"http": {"files": [{"url": server.url("lesion.png"), "sha256": sha256}]}}

        def write(**changed) -> real_servers.WebServer:
            (tmp_path / "datasets/lesions.yaml").write_text(yaml.safe_dump({**dataset, **changed}))
            return server

        write()
        yield write


def test_dry_run_says_what_how_much_and_under_which_licence(lesions, tmp_path, capsys):
    server = lesions()
    assert main(["download", "lesions", "--dry-run"]) == 0
    text = capsys.readouterr().out
    for part in (LICENCE, "Doe et al. (2020)", "https://example.org", "1 file, 9.0 kB", "data/lesions/images"):
        assert part in text
    assert not (tmp_path / "data").exists()
    assert [entry["method"] for entry in server.requests_for("lesion.png")] == ["HEAD"]


def test_download_fetches_once(lesions, tmp_path, capsys):
    lesions()
    assert main(["download", "lesions"]) == 0
    assert "1 file, 9.0 kB in data/lesions/images (1 fetched, 0 were here)" in capsys.readouterr().out
    assert (tmp_path / "data/lesions/images/lesion.png").read_bytes() == b"a picture" * 1000
    assert main(["download", "datasets/lesions.yaml", "--to", "data/lesions"]) == 0
    assert "(0 fetched, 1 were here)" in capsys.readouterr().out
    assert main(["download", "lesions", "--dry-run"]) == 0
    assert "to fetch  nothing" in capsys.readouterr().out


def test_licence_is_accepted_by_a_word_and_never_silently(lesions, tmp_path, capsys):
    lesions(licence_acceptance="required")
    assert main(["download", "lesions"]) == 1
    output = capsys.readouterr()
    assert f"'{LICENCE}'. Read it (https://example.org), then run again with --accept-licence" in output.err
    assert "must be accepted" in output.out
    assert not (tmp_path / "data").exists()
    assert main(["download", "lesions", "--dry-run"]) == 0
    assert main(["download", "lesions", "--accept-licence"]) == 0
    assert (tmp_path / "data/lesions/images/lesion.png").is_file()


def test_wrong_layout_and_absent_folder_are_one_line_each(lesions, capsys):
    lesions(layout=["train.csv"])
    assert main(["download", "lesions"]) == 1
    assert "missing train.csv" in capsys.readouterr().err
    lesions(source={"local_folder": {"path": "lesions"}}, how_to_get="Register at example.org.")
    assert main(["download", "lesions"]) == 1
    error = capsys.readouterr().err
    assert "does not exist" in error
    assert "How to get it: Register at example.org." in error
    assert len(error.splitlines()) == 1


def test_unknown_dataset_is_suggested(lesions, capsys):
    assert main(["download", "lesion"]) == 1
    assert "Did you mean 'lesions'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "text"), [(None, "size not known before"), (812, "812 bytes"), (4_200_000, "4.2 MB"), (42.1e9, "42.1 GB")]
)
def test_sizes_are_in_powers_of_1000(count, text):
    assert bytes_in_words(count) == text

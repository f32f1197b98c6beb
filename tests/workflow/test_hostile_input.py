"""Full disks, files that vanish or cannot be read, processes killed at any moment: real ones, nothing is simulated.

A chunk is catalogued, preprocessed and sharded as the rules do it, in processes of their own. After every disaster the
same work is done again and must give the same bytes as if nothing had happened.
"""

import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from scanloom import plugins
from scanloom.cataloguing.catalogue import build_catalogue
from scanloom.identity import item_ids
from scanloom.images.chunk_images import read_parts, write_parts
from scanloom.images.preprocessing import chunk_parts
from scanloom.shards.shard_writer import write_chunk
from scanloom.sources import phantom
from scanloom.splitting.splits import SPLITS

STEPS = [{"name": "hu_window", "settings": {"windows": ["brain", "bone"]}}]
NOBODY = 65534
FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def cohort():
    """A small phantom cohort that any user may read, and its chunk rows."""
    folder = Path(tempfile.mkdtemp(prefix="scanloom-hostile-"))
    folder.chmod(0o755)
    yield phantom.fetch(phantom.Settings(patients=6, matrix=96), folder, seed=2).root
    shutil.rmtree(folder)


@pytest.fixture
def scans(cohort):
    """A copy of the cohort to spoil."""
    folder = Path(tempfile.mkdtemp(prefix="scanloom-hostile-"))
    folder.chmod(0o777)
    shutil.copytree(cohort, folder / "scans")
    yield folder / "scans"
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def rows(cohort):
    return catalogued(cohort).chunk_rows[0]


@pytest.fixture(scope="module")
def expected(cohort, rows, tmp_path_factory):
    """Hashes of all files that an undisturbed run makes."""
    out = tmp_path_factory.mktemp("undisturbed")
    one_chunk(cohort, rows, out)
    return hashes(out)


def catalogued(root):
    settings = plugins.settings("readers", "dicom", {})
    return build_catalogue("dicom", settings, root, dataset="heads", salt="s", chunks=1, modality="CT")


def one_chunk(root, rows, out) -> None:
    """What the rules preprocess_chunk and shard_chunk do."""
    reader, settings = plugins.load("readers", "dicom"), plugins.settings("readers", "dicom", {})
    files = out / "000.npy", out / "000.npz"
    parts = chunk_parts(lambda series: reader.read_series(root, series, settings), rows, STEPS, 2, "uint8")
    write_parts(*files, parts, STEPS, 2, "uint8")
    table = rows[["series_id", "patient_id", "slice_index"]]
    table = table.assign(item_id=item_ids(table.series_id, table.slice_index), bleed=0.0)
    split = {patient: SPLITS[number % 3] for number, patient in enumerate(sorted(set(table.patient_id)))}
    table["split"] = table.patient_id.map(split)
    shards = {split: out / f"{split}-000.tfrecord" for split in SPLITS}
    write_chunk(read_parts(*files), table, ["bleed"], "heads", 0, shards, out / "000.json")


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, hidden ones too."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def started(target, *arguments):
    process = FORK.Process(target=target, args=arguments)
    process.start()
    return process


def in_a_process(function, *arguments, prepare=lambda: None) -> str:
    """Run the function in a process of its own; the text of its error, or nothing."""
    receiving, sending = FORK.Pipe(duplex=False)

    def body():
        prepare()
        try:
            function(*arguments)
            sending.send("")
        except Exception as error:
            sending.send(f"{type(error).__name__}: {error}")

    process = started(body)
    sending.close()
    try:
        return receiving.recv()
    finally:
        process.join()


def no_root() -> None:
    """Root may read everything, so a process that is to be refused becomes somebody else."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def test_a_job_killed_at_any_moment_is_repeated_with_the_same_bytes(cohort, rows, expected, tmp_path):
    """kill -9 after a twelfth, two twelfths ... of the time of a whole run: whatever is there then is whole."""
    start = time.monotonic()
    started(one_chunk, cohort, rows, tmp_path).join()
    whole_s = time.monotonic() - start
    for twelfth in range(1, 12):
        out = tmp_path / str(twelfth)
        out.mkdir()
        process = started(one_chunk, cohort, rows, out)
        process.join(timeout=twelfth / 12 * whole_s)
        process.kill()
        process.join()
        there = {name: digest for name, digest in hashes(out).items() if not name.endswith(".part")}
        assert there.items() <= expected.items()
        one_chunk(cohort, rows, out)
        assert hashes(out) == expected


def test_what_a_killed_job_left_is_removed_and_what_another_writes_is_not(tmp_path):
    from scanloom.atomic_files import whole_file

    def hold(path, connection):
        with whole_file(path) as file:
            file.write(b"half")
            file.flush()
            connection.send("writing")
            connection.recv()

    here, there = FORK.Pipe()
    process = started(hold, tmp_path / "a", there)
    assert here.recv() == "writing"
    with whole_file(tmp_path / "a") as file:
        file.write(b"ours")
    assert len(list(tmp_path.iterdir())) == 2  # ours, and the other's unfinished file
    process.kill()
    process.join()
    with whole_file(tmp_path / "a") as file:
        file.write(b"ours")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_too_large_for_the_user_is_named_and_nothing_half_is_left(cohort, rows, expected, tmp_path):
    """A limit on the size of files, as quotas and some disks have it."""
    size = 100_000
    error = in_a_process(
        *(one_chunk, cohort, rows, tmp_path), prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    )
    assert "no room for 000.npy" in error
    assert "make room and run again" in error
    assert hashes(tmp_path) == {}
    one_chunk(cohort, rows, tmp_path)
    assert hashes(tmp_path) == expected


@pytest.fixture
def small_disk(tmp_path):
    """A file system in memory that holds the preprocessed images, but not the shards as well."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system (needs root)")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_named_and_the_work_goes_on_once_there_is_room(cohort, rows, expected, small_disk):
    one_chunk(cohort, rows, small_disk)
    needed = sum(path.stat().st_size for path in small_disk.iterdir())
    for path in small_disk.iterdir():
        path.unlink()
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "other").write_bytes(bytes(free - needed * 3 // 4))
    error = in_a_process(one_chunk, cohort, rows, small_disk)
    assert error.startswith("OSError")
    assert "no room for" in error
    there = hashes(small_disk)
    del there["other"]
    assert there.items() <= expected.items()
    assert not list(small_disk.glob(".*"))
    (small_disk / "other").unlink()
    one_chunk(cohort, rows, small_disk)
    assert hashes(small_disk) == expected


def test_an_unreadable_file_is_excluded_with_that_reason(scans):
    path = next(path for path in sorted(scans.rglob("*.dcm")))
    path.chmod(0)
    out = scans.parent / "files.parquet"

    def catalogue():
        catalogued(scans).files.to_parquet(out)

    assert in_a_process(catalogue, prepare=no_root) == ""
    files = pd.read_parquet(out).set_index("path")
    assert len(files) == sum(path.is_file() for path in scans.rglob("*"))
    assert files.reason[path.relative_to(scans).as_posix()] == "unreadable"


@pytest.mark.parametrize("disaster", ["vanished", "unreadable", "cut off"])
def test_a_file_lost_after_the_catalogue_is_one_error_without_names(scans, rows, expected, tmp_path, disaster):
    """Preprocessing stops and names the series by its pseudonym; with the file back the shards are the same."""
    path = scans / rows.path.iloc[len(rows) // 2]
    content = path.read_bytes()
    if disaster == "vanished":
        path.unlink()
    elif disaster == "unreadable":
        path.chmod(0)
    else:
        path.write_bytes(content[: len(content) // 2])
    out = scans.parent / "out"
    out.mkdir()
    out.chmod(0o777)
    error = in_a_process(one_chunk, scans, rows, out, prepare=no_root)
    assert f"series {rows.series_id.iloc[len(rows) // 2]} cannot be read" in error
    assert path.name not in error
    assert str(scans) not in error
    assert hashes(out) == {}
    path.chmod(0o644) if path.exists() else None
    path.write_bytes(content)
    one_chunk(scans, rows, out)
    assert hashes(out) == expected


def test_files_that_vanish_while_they_are_catalogued_never_unbalance_the_books(scans):
    """Whichever of the two is faster: every file found has a verdict, or the catalogue says that files changed."""

    def delete_some():
        for path in sorted(scans.rglob("*.dcm"))[::-3]:
            path.unlink()

    def books():
        made = catalogued(scans)
        assert set(made.files.path) <= before
        assert made.books["found"] == made.books["used"] + made.books["excluded"] == len(made.files)

    before = {path.relative_to(scans).as_posix() for path in scans.rglob("*") if path.is_file()}
    process = started(delete_some)
    error = in_a_process(books)
    process.join()
    assert error == "" or (error.startswith("CatalogueError") and "did files change" in error)
    assert catalogued(scans).books["found"] == sum(path.is_file() for path in scans.rglob("*"))


@pytest.mark.slow
def test_a_study_killed_while_it_makes_shards_ends_with_the_same_shards(root, fresh_workflow):
    """kill -9 of Snakemake and all its jobs at the first shard; a minute, because Snakemake starts three times."""
    folder = fresh_workflow.folder
    phantom.fetch(phantom.Settings(patients=36, matrix=64), folder / "scans", seed=5)
    dataset = yaml.safe_load((root / "datasets" / "phantom.yaml").read_text())
    dataset |= {"name": "heads", "source": {"local_folder": {"path": "scans/cohort"}}}
    (folder / "datasets" / "heads.yaml").write_text(yaml.safe_dump(dataset))
    shards, index = folder / "results/heads/shards", "results/heads/shards/index.json"
    fresh_workflow.snakemake(index)
    whole = hashes(shards)
    shutil.rmtree(shards)
    shutil.rmtree(folder / "results/heads/preprocessed")

    command = [sys.executable, "-m", "snakemake", "--configfile", "study.yaml", "--cores", "2", index]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(command, cwd=folder, start_new_session=True, **quiet)
    while running.poll() is None and not list(shards.glob("*")):
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    fresh_workflow.snakemake("--unlock")
    fresh_workflow.snakemake(index)
    assert hashes(shards) == whole

"""Nothing private leaves (DESIGN, promise 8): identifiers planted in the input are in no result and no log.

The study is run for real, to its report. Searched are results/ and logs/ with their benchmarks, whole files and what is
packed in them, and Snakemake's own log. Not searched is `.snakemake/metadata`: Snakemake keeps the settings of each job
there, among them the salt and the folder of the images; like private/ it stays where the study ran.
"""

import base64
import gzip
import io
import json
import re
import shutil
import urllib.parse
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
import yaml
from PIL import Image, PngImagePlugin

from scanloom import plugins

# Invented, and so odd that no other text holds them by chance. Parts of names stand alone: any order, any separator.
NAME, GIVEN = "Quintessenbach", "Zebulonia"
PLANTED = {
    "PatientName": f"{NAME}^{GIVEN}",
    "OtherPatientNames": "Wolpertingen^Zebulonia",
    "PatientBirthDate": "19370911",
    "PatientBirthTime": "042917",
    "PatientAddress": "Kuckucksweg 77 Hinterzarten",
    "PatientTelephoneNumbers": "0761-5550199",
    "StudyDate": "20190317",
    "SeriesDate": "20190318",
    "AcquisitionDate": "20190319",
    "ContentDate": "20190320",
    "StudyTime": "143759.271828",
    "AccessionNumber": "ACCQX8812",
    "StudyID": "STDQX4471",
    "InstitutionName": "Klinikum Hinterzarten-Nord",
    "InstitutionAddress": "Birkenallee 123",
    "InstitutionalDepartmentName": "Neuroradiologie Quastenflosser",
    "ReferringPhysicianName": "Krummhorn^Aloisius",
    "PerformingPhysicianName": "Nasenbaer^Ottokar",
    "OperatorsName": "Ziegenpeter^Mara",
    "StationName": "CTQUASTEN2",
    "DeviceSerialNumber": "SNQX556677",
    "StudyDescription": f"Schaedel Frau {NAME}",
    "SeriesDescription": f"Kopf nativ {GIVEN}",
    "ProtocolName": f"Protokoll {NAME}",
    "ImageComments": f"Befund telefonisch an {NAME}",
    "PatientComments": "Tochter von Krummhorn",
    "RequestedProcedureDescription": "CT wegen Sturz Kuckucksweg",
    # The catalogue shows these two, unless what stands there looks like a name. (A plain word it cannot tell apart.)
    "ConvolutionKernel": f"{NAME}^Z",
    "BodyPartExamined": f"KOPF^{GIVEN}",
}
PRIVATE_TAG = "PRIVATQX9931"
FOLDER = f"{NAME}_{GIVEN}_1937"  # names of folders and files are written into messages more easily than headers
IN_TABLE = "angerufen wegen Quastenflosser"


def planted_words() -> set[str]:
    """What must not be found: each value whole, and each of its words that is long enough to be no accident."""
    words = {PRIVATE_TAG, FOLDER}
    for value in (*PLANTED.values(), IN_TABLE):
        words |= {value, *(part for part in re.split(r"[\^ ]", value) if len(part) >= 8)}
    common = {"Schaedel", "Protokoll", "telefonisch", "angerufen", "Klinikum"}
    return words - common


def plant(cohort: Path, monkeypatch) -> set[str]:
    """Rewrite every DICOM file with the identifiers, in folders named after the patient; all further identifiers."""
    found, names = set(), {}
    for mode in ("_reading_validation_mode", "_writing_validation_mode"):
        monkeypatch.setattr(pydicom.config.settings, mode, pydicom.config.IGNORE)
    for path in sorted(cohort.rglob("*.dcm")):
        try:
            dataset = pydicom.dcmread(path)
            _ = dataset.SOPClassUID
        except (pydicom.errors.InvalidDicomError, AttributeError, OSError):
            continue  # a file that is deliberately bad
        for keyword, value in PLANTED.items():
            setattr(dataset, keyword, value)
        dataset.private_block(0x0029, "QUASTENFLOSSER LAB", create=True).add_new(0x10, "LO", PRIVATE_TAG)
        found |= {str(dataset.get(f"{kind}InstanceUID", "")) for kind in ("SOP", "Series", "Study")}
        found |= {str(dataset.get("PatientID", "")), str(dataset.get("FrameOfReferenceUID", ""))}
        number = names.setdefault(str(dataset.get("PatientID", "")), len(names))
        folder = cohort / f"{FOLDER}-{number}" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            dataset.save_as(folder / f"{GIVEN}-{path.stem}.dcm")
        except (ValueError, AttributeError, KeyError, NotImplementedError):
            shutil.copy(path, folder / f"{GIVEN}-{path.stem}.dcm")
        path.unlink()
    table = pd.read_csv(cohort / "labels.csv", dtype=str)
    table.assign(note=IN_TABLE).to_csv(cohort / "labels.csv", index=False)
    return {value for value in found if len(value) >= 6}


def encodings(word: str) -> set[bytes]:
    """The word as it may stand in a file."""
    found = {word.encode(), word.lower().encode(), word.upper().encode(), word.encode("utf-16-le")}
    found |= {word.encode("utf-16-be"), urllib.parse.quote(word).encode(), word.encode().hex().encode()}
    found |= {json.dumps(word)[1:-1].encode(), word.encode("utf-32-le")}  # the last one is NumPy's
    for shift in range(3):  # base64 depends on where in a group of three bytes the word begins
        middle = base64.b64encode(b"x" * shift + word.encode())[(0, 2, 3)[shift] :]
        found.add(middle[: -(4 if len(word) % 3 else 1) - 2])
    return {one for one in found if len(one) >= 6}


def contents(data: bytes, depth: int = 0):
    """The bytes of a file, and of everything packed in it, however deep."""
    yield data
    if depth > 4:
        return
    inner = []
    if data[:2] == b"\x1f\x8b":
        inner.append(gzip.decompress(data))
    elif data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            inner += [archive.read(name) for name in archive.namelist()] + ["\n".join(archive.namelist()).encode()]
    elif data[:4] == b"PAR1":
        table = pq.read_table(io.BytesIO(data))
        inner.append(repr(table.schema.metadata).encode() + repr(table.to_pydict()).encode())
    elif data[:8] == b"\x89PNG\r\n\x1a\n" or data[:4] == b"RIFF":
        with Image.open(io.BytesIO(data)) as image:
            inner.append(repr((image.info, dict(image.getexif()))).encode())
    elif b"base64," in data:
        inner += [
            base64.b64decode(match + b"=" * (-len(match) % 4))
            for match in re.findall(rb"base64,([A-Za-z0-9+/]{16,}=*)", data)
        ]
    for part in inner:
        yield from contents(part, depth + 1)


def leaks(folder: Path, places: list[str], words: set[str]) -> list[str]:
    """`file: word` for every word found in a file or in its name."""
    wanted = {one: word for word in words for one in encodings(word)}
    pattern = re.compile(b"|".join(sorted(map(re.escape, wanted), key=len, reverse=True)))
    found = []
    for place in places:
        for path in sorted((folder / place).rglob("*")):
            if path.is_file():
                name = str(path.relative_to(folder)).encode()
                for part in (name, *contents(path.read_bytes())):
                    found += [f"{name.decode()}: {wanted[hit]}" for hit in set(pattern.findall(part))]
    return sorted(set(found))


@pytest.fixture(scope="module")
def private_study(root, new_workflow):
    """A study that learns next to nothing, run to its report on files full of identifiers; what must not be found."""
    workflow = new_workflow("private")
    folder, study = workflow.folder, workflow.study
    source = plugins.load("sources", "phantom")
    settings = plugins.settings("sources", "phantom", {"patients": 18, "matrix": 32, "slices_per_series": 4})
    source.fetch(settings, folder / "scans", seed=5)
    with pytest.MonkeyPatch.context() as monkeypatch:
        words = planted_words() | plant(folder / "scans/cohort", monkeypatch)
    dataset = yaml.safe_load((root / "datasets" / "phantom.yaml").read_text())
    dataset |= {"name": "heads", "source": {"local_folder": {"path": "scans/cohort"}}, "site": None, "masks": None}
    dataset |= {"stratify": ["bleed"], "expected": {}}
    (folder / "datasets" / "heads.yaml").write_text(yaml.safe_dump(dataset))
    study["datasets"]["heads"]["steps"][-1] = {"resize": {"size_px": [16, 16]}}
    study["fractions"], study["seeds"], study["chunks"] = [1.0], [0], 2
    study["pretraining"] |= {"methods": {"from_scratch": {}}, "batch": 4, "updates": 2, "interval": 1}
    study["arms"]["finetuned"] = None
    study["explanation"]["compare"] = "from_scratch"
    workflow.write_study()
    workflow.snakemake("results/report.html")
    return workflow, words


def test_the_search_finds_what_is_hidden(tmp_path):
    """Positive control: one word in each kind of file, and in each encoding."""
    (tmp_path / "logs").mkdir()
    files = tmp_path / "logs"
    hidden = {
        "plain.log": f"cannot read {NAME}".encode(),
        "upper.log": NAME.upper().encode(),
        "wide.bin": NAME.encode("utf-16-le"),
        "quoted.json": json.dumps({"url": urllib.parse.quote("Krummhorn^Aloisius")}).encode(),
        "hex.txt": NAME.encode().hex().encode(),
        "packed.gz": gzip.compress(f"x{NAME}".encode()),
    }
    for number in range(3):
        hidden[f"base64-{number}.txt"] = base64.b64encode(b"y" * number + NAME.encode() + b" is here")
    for name, data in hidden.items():
        (files / name).write_bytes(data)
    pq.write_table(pa.table({"note": [NAME] * 3}), files / "column.parquet", compression="zstd")
    pq.write_table(pa.table({"n": [1]}).replace_schema_metadata({"by": NAME}), files / "schema.parquet")
    np.savez_compressed(files / "arrays.npz", who=np.array([NAME]))
    info = PngImagePlugin.PngInfo()
    info.add_text("Description", NAME, zip=True)
    Image.new("L", (4, 4)).save(files / "picture.png", pnginfo=info)
    page = base64.b64encode((files / "picture.png").read_bytes())
    (files / "page.html").write_bytes(b'<img src="data:image/png;base64,' + page + b'">')
    (files / f"{NAME}.txt").write_text("")
    found = {line.split(":")[0].removeprefix("logs/") for line in leaks(tmp_path, ["logs"], planted_words())}
    assert found == {path.name for path in files.iterdir()}


def test_no_planted_identifier_is_in_any_result_or_log(private_study):
    workflow, words = private_study
    assert len(words) > 100
    results = [path for path in (workflow.folder / "results").rglob("*") if path.is_file()]
    kinds = {path.suffix for path in results}
    assert {".parquet", ".tfrecord", ".npz", ".json", ".html", ".keras", ".png"} <= kinds, kinds
    assert leaks(workflow.folder, ["results", "logs", ".snakemake/log"], words) == []


def test_private_holds_what_results_do_not(private_study):
    """The identifiers were read: without this the test above would prove nothing."""
    workflow, words = private_study
    found = " ".join(leaks(workflow.folder, ["private"], words))
    assert FOLDER in found
    assert GIVEN in found


def test_a_file_that_vanishes_midway_is_not_named_in_the_log(private_study):
    workflow, words = private_study
    rows = pd.read_parquet(workflow.folder / "private/heads/chunks/000.parquet")
    gone = workflow.folder / "scans/cohort" / rows.path.iloc[0]
    content = gone.read_bytes()
    target = "results/heads/preprocessed/000.npz"
    try:
        for damaged in (None, content[: len(content) // 3]):
            gone.unlink(missing_ok=True)
            if damaged is not None:
                gone.write_bytes(damaged)
            done = workflow.snakemake("--forcerun", "preprocess_chunk", "--", target, check=False)
            said = done.stdout + done.stderr
            assert done.returncode != 0
            assert rows.series_id.iloc[0] in said, "the message names the series by its pseudonym"
            assert not [word for word in words if word in said]
            assert leaks(workflow.folder, ["logs", ".snakemake/log"], words) == []
    finally:
        gone.write_bytes(content)

"""The example of docs/add-a-method.md runs as it stands: a file in a copy of the package, trained for two updates."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-method.md").read_text()
NAME = "variance_invariance"
PROGRAM = f'''
import json, sys
from pathlib import Path
import numpy as np, pandas as pd
import scanloom
assert Path(scanloom.__file__).parent == Path("scanloom").resolve(), "the copy is tested"
from scanloom import plugins
from scanloom.pretraining.pretraining_run import Budget, pretrain


class Corpus:
    """Twelve random images of six patients."""
    ids = [f"item-{{number}}" for number in range(12)]
    table = pd.DataFrame({{"item_id": ids, "patient_id": [f"patient-{{n // 2}}" for n in range(12)]}})
    image_spec = {{"shape": [16, 16, 1]}}
    stored = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 1), np.uint8)

    def images(self, rows):
        return self.stored[rows]


settings = json.loads(sys.argv[1])
pretrain(
    Corpus(), set(Corpus.table.patient_id), method="{NAME}", method_settings=settings,
    encoder="resnet", encoder_settings={{"depth": 10, "width": 4}},
    views=[("random_resized_crop", {{}}), ("flip", {{}})],
    budget=Budget(updates=2, batch=6, learning_rate=0.01, interval=1), seed=3, folder=Path("run"),
)
history = pd.read_parquet("run/history.parquet")
assert history.step.tolist() == [1, 2], history
assert np.isfinite(history.loss).all(), history

import keras
trained = keras.models.load_model("run/encoder.keras").get_weights()
resnet = plugins.load("encoders", "resnet")
fresh = resnet.build(resnet.Settings(depth=10, width=4), (16, 16, 1), 3).get_weights()
assert any(np.abs(a - b).max() > 0 for a, b in zip(trained, fresh, strict=True)), "two updates changed the encoder"
'''


def block(language: str) -> str:
    """The page's only block of this language."""
    [code] = re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
    return code


@pytest.fixture
def package_with_example(tmp_path):
    """A folder with a copy of the package in which the example lies where the page says."""
    [path] = re.findall(rf"Save it as `(scanloom/methods/{NAME}\.py)`", PAGE)
    shutil.copytree(ROOT / "scanloom", tmp_path / "scanloom", ignore=shutil.ignore_patterns("__pycache__"))
    for test in ("contracts/test_methods.py", "library/method_trials.py"):
        shutil.copy(ROOT / "tests" / test, tmp_path)
    (tmp_path / path).write_text(block("python"))
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_contract_finds_the_documented_method_by_itself_and_it_keeps_it(package_with_example):
    only = ("-k", NAME, "-m", "not slow", "-p", "no:cacheprovider")
    done = run(package_with_example, "-m", "pytest", "-q", "test_methods.py", *only)
    assert done.returncode == 0, done.stdout[-4000:]
    assert " passed" in done.stdout, "the contract test finds the file by itself"


def test_documented_method_trains_two_updates(package_with_example):
    settings = yaml.safe_load(block("yaml"))["pretraining"]["methods"][NAME]
    done = run(package_with_example, "-c", PROGRAM, json.dumps(settings))
    assert done.returncode == 0, done.stderr[-4000:]


def test_documented_configuration_is_a_valid_study_once_the_file_is_there(package_with_example):
    study = yaml.safe_load((ROOT / "config.yaml").read_text())
    methods = yaml.safe_load(block("yaml"))["pretraining"]["methods"]
    study["pretraining"]["methods"] = methods
    study["explanation"]["compare"] = NAME
    (package_with_example / "study.yaml").write_text(yaml.safe_dump(study))
    code = (
        "import sys, yaml; from scanloom.config import study_from; "
        "study = study_from(yaml.safe_load(open('study.yaml'))); "
        f"assert study.pretraining.methods['{NAME}']['embedding'] == 64; "
        "assert 'keras' not in sys.modules, 'planning must stay cheap'"
    )
    done = run(package_with_example, "-c", code)
    assert done.returncode == 0, done.stderr[-2000:]


def test_page_stays_short():
    assert len(PAGE.splitlines()) <= 90
    assert len(block("python").splitlines()) <= 60

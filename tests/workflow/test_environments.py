"""Every environment file is complete: built alone, it imports the scripts of its rules and all they may load.

The environment holds only what the file names, and Snakemake is not in it, so nothing can be borrowed from the
environment that runs the workflow. The packages come from the file's pip section, since no conda channel is asked.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scanloom import plugins

ROOT = Path(__file__).parents[2]
RULES = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
ENV_OF = dict(re.findall(r'rule (\w+):\n.*?conda:\s+"\.\./envs/(\w+)\.yaml"', RULES, flags=re.DOTALL))
KINDS = {
    "download": ["sources"],
    "dicom": ["readers", "steps"],
    "learn": ["views", "encoders", "methods", "explain"],
    "figures": ["metrics", "methods", "report/sections"],
}


def uv() -> str:
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if not found:
        pytest.skip("uv is not installed")
    return found


@pytest.mark.parametrize("env", ["download", "dicom", "figures", pytest.param("learn", marks=pytest.mark.slow)])
def test_environment_file_is_complete(env, tmp_path):
    listed = yaml.safe_load((ROOT / "envs" / f"{env}.yaml").read_text())["dependencies"]
    pins = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    python = tmp_path / "bin" / "python"
    subprocess.run([uv(), "venv", "--quiet", "--python", "3.11", str(tmp_path), "--clear"], check=True)
    subprocess.run([uv(), "pip", "install", "--quiet", "--python", str(python), *pins], check=True)

    modules = [f"workflow_scripts.{rule}" for rule, of in ENV_OF.items() if of == env]
    modules += [f"scanloom.{kind.replace('/', '.')}.{name}" for kind in KINDS[env] for name in plugins.names(kind)]
    assert modules
    code = f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
    code += "assert 'snakemake' not in sys.modules"
    if env == "learn":
        code += "\nfrom scanloom.lazy import keras; print(keras.backend.backend())"
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([str(python), "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]

"""Where a result comes from: the rule, its settings, its input data, its code and the versions behind it."""

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scanloom.atomic_files import write_text
from scanloom.run_store import sha256_of

PACKAGES = ("scanloom", "numpy", "pandas", "pydicom", "keras", "tensorflow-cpu", "jax", "scikit-learn", "snakemake")
FRAMEWORK = ("keras", "numpy", "tensorflow-cpu", "jax")


def short_hash(value) -> str:
    """12 hex digits of any JSON-able value."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def data_fingerprint(paths: list) -> str:
    """12 hex digits over the contents of the files, in the order of their names."""
    files = sorted({str(path) for path in paths if Path(path).is_file()})
    return short_hash([(file, sha256_of(Path(file))) for file in files])


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that matter for results, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def framework_versions() -> dict[str, str]:
    """The versions a training's numbers depend on; a new Snakemake or pydicom retrains nothing."""
    return {name: found for name, found in versions().items() if name in FRAMEWORK}


def origin(rule: str, settings: dict, inputs: list, code: str) -> dict:
    """The record that stands behind every number of the report."""
    return {
        "rule": rule,
        "config": short_hash(settings),
        "data": data_fingerprint(inputs),
        "code": code,
        "versions": versions(),
    }


def stamp(path, rule: str, settings: dict, inputs: list, code: str) -> None:
    """Write the origin of a result beside it, as JSON."""
    write_text(Path(path), json.dumps(origin(rule, settings, inputs, code), indent=1))

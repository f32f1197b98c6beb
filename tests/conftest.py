"""Fixtures every test may use."""

import os
from pathlib import Path

import hypothesis
import pytest

import scanloom  # noqa: F401  (before any test imports Keras: it says how TensorFlow computes)

ROOT = Path(__file__).parents[1]

# No test is a timed one: an example may take as long as a busy machine lets it. The same examples every time, so that a
# change is judged by what it changed; `make test-properties` looks for new ones.
hypothesis.settings.register_profile("searching", deadline=None, max_examples=1000)
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real images; tests that need them are skipped where it is absent."""
    folder = Path(os.environ.get("SCANLOOM_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no folder of real images at {folder} (set SCANLOOM_SHARED_DATA)")
    return folder

"""Fixtures every test may use."""

import os
from pathlib import Path

import hypothesis
import pytest

import scanloom  # noqa: F401  (before any test imports Keras: it says how TensorFlow computes)

ROOT = Path(__file__).parents[1]

# No test is a timed one: an example may take as long as a busy machine lets it.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


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

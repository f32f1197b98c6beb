"""Fixtures every test may use."""

import os
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parents[1]

# No test is a timed one: an example may take as long as a busy machine lets it.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What shares costly fixtures stays in one process of pytest-xdist; the longest such group, Snakemake's, begins.

    Contract tests share none and go to whoever is free.
    """
    items.sort(key=lambda item: "workflow" not in item.path.parts)
    for item in items:
        kind = item.path.relative_to(ROOT / "tests").parts[0]
        if kind != "contracts":
            item.add_marker(pytest.mark.xdist_group("workflow" if kind == "workflow" else str(item.path)))


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

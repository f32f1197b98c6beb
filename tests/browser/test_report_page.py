"""The report as a browser shows it: no errors, no requests, nothing wider than a phone."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "library"))
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium's path and a folder with playwright-core; skips where either cannot be had."""
    chromium = os.environ.get("SCANLOOM_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not chromium:
        pytest.skip("no Chromium on this machine (set SCANLOOM_CHROMIUM)")
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("no node and npm on this machine")
    folder = tmp_path_factory.mktemp("browser")
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(folder), "playwright-core@1"]
    try:
        installed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        pytest.skip("playwright-core could not be installed from the npm registry in two minutes")
    if installed.returncode:
        pytest.skip("playwright-core could not be installed from the npm registry")
    return chromium, folder


@pytest.fixture(scope="module", params=["light", "dark"])
def seen(request, browser, tmp_path_factory):
    """What the browser measured at desktop and phone width."""
    import report_study

    from scanloom.report.assemble import build_report

    chromium, folder = browser
    page = folder / "report.html"
    if not page.exists():
        root = tmp_path_factory.mktemp("study")
        build_report(report_study.build(root), None, page, root / "figures")
    pictures = tmp_path_factory.mktemp(request.param)
    command = ["node", str(HERE / "screenshot.mjs"), str(page), str(pictures), chromium, request.param]
    shot = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert shot.returncode == 0, shot.stderr[-2000:]
    return json.loads(shot.stdout), pictures


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_page_opens_without_errors_and_without_requests(seen, width):
    found, _ = seen
    assert found[width]["errors"] == []
    assert found[width]["requests"] == []
    assert found[width]["images"] > 20
    assert found[width]["brokenImages"] == 0


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_nothing_is_wider_than_the_screen(seen, width):
    found, _ = seen
    assert found[width]["pageWidth"] == found[width]["screenWidth"]
    assert found[width]["cutOff"] == 0


@pytest.mark.parametrize("width", ["desktop", "phone"])
def test_figures_can_be_read_and_are_described(seen, width):
    found, _ = seen
    assert found[width]["smallestFigureTextPx"] >= 9
    assert found[width]["unlabelledImages"] == 0
    assert found[width]["duplicateIds"] == []


def test_dark_page_is_dark_and_light_page_is_light(seen, request):
    import numpy as np
    from PIL import Image

    _, pictures = seen
    mean = np.asarray(Image.open(pictures / "desktop.png").convert("L")).mean()
    assert mean < 80 if pictures.name.startswith("dark") else mean > 200

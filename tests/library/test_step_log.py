"""What a failed step leaves in its log."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from scanloom import step_log
step_log.log_to({log!r})
print("at work")
{body}
"""


def log_after(root: Path, folder: Path, body: str) -> tuple[str, Path]:
    """(the log, the file with the traceback beside it) of a step that fails."""
    log = folder / "logs" / "step.log"
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(root=str(root), log=str(log), body=body)], cwd=folder)
    assert done.returncode == 1
    return log.read_text(), log.with_name("step.log.traceback")


def test_a_message_of_this_library_stands_alone_and_the_traceback_beside_it(root, tmp_path):
    body = "from scanloom import plugins\nplugins.file_of('steps', 'rezise')"
    log, beside = log_after(root, tmp_path, body)
    assert log.startswith("at work\nUnknownPlugin: no step 'rezise'. Known: ")
    assert "Traceback" not in log
    assert "plugins.py" in beside.read_text()
    log, beside = log_after(root, tmp_path, "open('/nowhere/at/all')")
    assert log == "at work\nFileNotFoundError: [Errno 2] No such file or directory: '/nowhere/at/all'\n"
    assert beside.exists()


def test_an_unexpected_error_is_written_with_its_traceback(root, tmp_path):
    log, beside = log_after(root, tmp_path, "import numpy as np\nnp.zeros(3).reshape(2)")
    assert "Traceback (most recent call last)" in log
    assert log.endswith("\nValueError: cannot reshape array of size 3 into shape (2,)\n")
    assert not beside.exists()

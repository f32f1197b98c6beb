"""Send everything a workflow step prints, warns or raises to its log file."""

import os
import sys
import traceback
from pathlib import Path


def log_to(path: str | Path) -> None:
    """Redirect stdout and stderr, of C libraries too, to `path`; an uncaught error ends there with its message last.

    Expected errors (ValueError and its kin raised by this library with a complete message) are written without the
    machinery above them: the reader of a log wants the file, the value and the remedy.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    log = open(path, "w", buffering=1)  # noqa: SIM115 - stays open as long as the process
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.excepthook = _write_error


def _write_error(kind, error, trace) -> None:
    traceback.print_exception(kind, error, trace, file=sys.stderr)
    print(f"\n{kind.__name__}: {error}", file=sys.stderr)

"""Send everything a workflow step prints, warns or raises to its log file."""

import os
import sys
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path


def log_to(path: str | Path) -> None:
    """Redirect stdout and stderr, of C libraries too, to `path`; an uncaught error ends there with its message last.

    Expected errors (a ValueError that this library raised with a complete message, or one of the system's) are written
    without the machinery above them, which is then in a file beside it, `<log>.traceback`: the reader of a log wants
    the file, the value and the remedy.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    log = open(path, "w", buffering=1)  # noqa: SIM115 - stays open as long as the process
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    beside = Path(f"{path}.traceback")
    beside.unlink(missing_ok=True)
    sys.excepthook = partial(_write_error, beside)


def _write_error(beside: Path, kind, error, trace) -> None:
    whole = "".join(traceback.format_exception(kind, error, trace))
    if _is_expected(error, trace):
        with suppress(OSError):  # the disk may be full
            beside.write_text(whole)
    else:
        sys.stderr.write(f"{whole}\n")
    print(f"{kind.__name__}: {error}", file=sys.stderr)


def _is_expected(error, trace) -> bool:
    """Whether the message says all: the system's errors, and what was raised in this library's own code."""
    if isinstance(error, OSError):
        return True
    *_, (last, _) = traceback.walk_tb(trace)
    own = (Path(__file__).parent, Path(__file__).parent.parent / "workflow_scripts")
    return isinstance(error, ValueError) and any(Path(last.f_code.co_filename).is_relative_to(folder) for folder in own)

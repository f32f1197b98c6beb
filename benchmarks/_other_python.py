"""A script that answers requests in the process of another Python, for peers whose packages ours cannot have."""

import json
import os
import subprocess
from pathlib import Path


class OtherPython:
    """`script` of this folder, started as `python script *arguments`; a context manager.

    ways: what it says that it can do; versions: of its packages. It writes one line of JSON when it is ready and one
    for every request; whatever else it prints is passed over. Raises ValueError where it cannot start.
    """

    def __init__(self, python: str, script: str, *arguments: str, environment: dict | None = None):
        self._process = subprocess.Popen(
            [python, str(Path(__file__).parent / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | (environment or {}),
        )
        ready = self._answer()
        self.ways, self.versions = ready["ways"], ready.get("versions", {})

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self._process.communicate()

    def ask(self, way: str, **arguments) -> dict:
        """The answer of one of the ways."""
        self._process.stdin.write(json.dumps({"way": way} | arguments) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise ValueError(f"{' '.join(map(str, self._process.args[:2]))} ended with status {self._process.wait()}")

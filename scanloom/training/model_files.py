"""`.keras` files that appear whole or not at all, with the same bytes for the same model.

Keras writes the time of saving and addresses in memory into the archive, so two savings of one model differ, and
everything that addresses a model by its checksum would see a new one. Here the archive is written again without them.
"""

import json
import os
import re
import zipfile
from pathlib import Path

from scanloom.atomic_files import whole_file

FIRST_DAY = (1980, 1, 1, 0, 0, 0)


def save_model(model, path: Path) -> None:
    """Write the keras.Model to `path` (`.keras`)."""
    path = Path(path)
    dated = path.with_name(path.stem + ".dated.keras")
    try:
        model.save(dated)
        with zipfile.ZipFile(dated) as source, whole_file(path) as file, zipfile.ZipFile(file, "w") as target:
            for entry in sorted(source.infolist(), key=lambda entry: entry.filename):
                content = source.read(entry)
                if entry.filename == "metadata.json":
                    content = json.dumps(json.loads(content) | {"date_saved": ""}).encode()
                if entry.filename == "config.json":
                    content = _numbered(content.decode()).encode()
                target.writestr(zipfile.ZipInfo(entry.filename, FIRST_DAY), content)
    finally:
        if dated.exists():
            os.remove(dated)


def _numbered(config: str) -> str:
    """The JSON with shared objects numbered as they come, not by where they lay in memory."""
    numbers = {}

    def number(found: re.Match) -> str:
        return found[1] + str(numbers.setdefault(found[2], len(numbers)))

    return re.sub(r'("shared_object_id": )(\d+)', number, config)

"""Does a folder look as a data set's publisher packs it? If not, one message: expected, found, what to do."""

import difflib
import os
from collections import Counter
from pathlib import Path

ENDINGS = ".dcm .ima .png .jpg .jpeg .tif .tiff .nii .nii.gz .mha .mhd .nrrd .npz .csv .tsv .tab .txt .json .xlsx"
ENDINGS += " .zip .tar .tar.gz .tgz .gz .bin"
LISTED = 20000  # entries that are looked at to say what a folder holds; the rest would not change the message


def layout_problem(root: Path, layout: list[str], how_to_get: str | None = None) -> str | None:
    """What is wrong with the folder; None: every pattern of `layout` fits a file or folder below it.

    Names of files that belong to no pattern are not shown: they may hold a patient's name. Shown are their number and
    kind, near misses of a missing name, and a subfolder that does fit.
    """
    root = Path(root)
    missing = [pattern for pattern in layout if not _is_there(root, pattern)]
    if not missing:
        return None
    parts = [f"the folder does not have the expected layout: missing {', '.join(missing)}"]
    if len(missing) < len(layout):
        parts.append(f"there is {', '.join(pattern for pattern in layout if pattern not in missing)}")
    parts.append(f"found {_contents(root)}")
    inside = _where_it_fits(root, layout)
    near = _near_misses(root, missing)
    if inside is not None:
        parts.append(f"all of it is in the subfolder '{inside}': give that folder as `path`")
    elif near:
        parts.append(f"similar: {', '.join(near)}; names must be as published")
    text = "; ".join(parts) + "."
    return f"{text} {' '.join(how_to_get.split())}" if how_to_get and inside is None else text


def _is_there(root: Path, pattern: str) -> bool:
    return (root / pattern).exists() or next(root.glob(pattern), None) is not None


def _contents(root: Path) -> str:
    """`3 folders, 120 .dcm, 2 .csv`: everything below the root by kind, most frequent first."""
    kinds: Counter = Counter()
    for _, folders, files in os.walk(root):
        kinds["folders"] += len(folders)
        kinds.update(_ending(name) for name in files)
        if kinds.total() > LISTED:
            break
    shown = [f"{count:,} {kind}" for kind, count in kinds.most_common(6) if count]
    return ", ".join(shown) or "nothing"


def _ending(name: str) -> str:
    """`.nii.gz`, `.dcm`; one that is not known is not shown: it may be a part of a name."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[-2:]]
    known = [ending for ending in ("".join(suffixes), suffixes[-1] if suffixes else "") if ending in ENDINGS.split()]
    return known[0] if known else "other files"


def _where_it_fits(root: Path, layout: list[str]) -> str | None:
    """The subfolder, at most two levels down, that has the layout; None: none, or several."""
    folders = [path for level in ("*", "*/*") for path in sorted(root.glob(level))[:200] if path.is_dir()]
    fitting = [path for path in folders if all(_is_there(path, pattern) for pattern in layout)]
    return fitting[0].relative_to(root).as_posix() if len(fitting) == 1 else None


def _near_misses(root: Path, missing: list[str]) -> list[str]:
    """`train.csv.txt (for train.csv)`: names at the top that look like a missing one."""
    names = sorted(path.name for path in root.iterdir())
    near = {p: difflib.get_close_matches(p.split("/")[0], names, n=1, cutoff=0.75) for p in missing}
    return [f"{close[0]} (for {pattern})" for pattern, close in near.items() if close and close[0] != pattern]

"""All files of a folder, whatever they are."""

import errno
import os
from pathlib import Path


def find_files(root: Path) -> list[str]:
    """Relative paths of all regular files below the root, sorted; links are followed, each folder once.

    A link that leads nowhere is a file too, so that it is counted: content of git-annex that was not fetched, a loop.

    Raises FileNotFoundError without a root, PermissionError where a folder cannot be listed: files would be lost.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}: check the dataset's source settings")
    found, seen, folders, links, closed = [], set(), [(str(root), "")], [], 0
    while folders or links:
        # Folders that are reached through links come last, so that the real path of a file is its name.
        folder, below = folders.pop() if folders else links.pop(0)
        try:
            state = os.stat(folder)
        except FileNotFoundError:  # gone since its parent was listed
            continue
        if (state.st_dev, state.st_ino) in seen:
            continue
        seen.add((state.st_dev, state.st_ino))
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if _is(entry, "dir"):
                        (links if entry.is_symlink() else folders).append((entry.path, f"{below}{entry.name}/"))
                    elif _is(entry, "file") or (entry.is_symlink() and not os.path.exists(entry.path)):
                        found.append(below + entry.name)
        except PermissionError:
            closed += 1
        if not folders:
            links.sort()
    if closed:
        raise PermissionError(
            f"{closed} of {len(seen)} folders below the dataset's root cannot be listed by this user, and what is in"
            " them would be lost silently: ask for read permission (`find ROOT -type d ! -executable` shows them)"
        )
    return sorted(found)


def _is(entry: os.DirEntry, kind: str) -> bool:
    """Whether the entry, or what it links to, is a "dir" or a "file"; a loop of links is neither."""
    try:
        return entry.is_dir() if kind == "dir" else entry.is_file()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        return False

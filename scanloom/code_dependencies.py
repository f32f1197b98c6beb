"""Which library files a script runs on, and a fingerprint of what they say.

Snakemake does not notice an edit in an imported library file. Rules therefore carry the fingerprint of their script's
import closure among their `params`. The fingerprint is taken from the *parsed* code without docstrings, so comments,
formatting, `touch` and `git checkout` change nothing, while any change of meaning reruns exactly the rules that use it.
"""

import ast
import hashlib
import os
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _module_files(dotted: str) -> list[Path]:
    """Files that importing `dotted` (scanloom.x.y) executes: the module and the packages above it."""
    parts = dotted.split(".")[1:]
    files = [PACKAGE / "__init__.py"]
    for end in range(1, len(parts) + 1):
        base = PACKAGE.joinpath(*parts[:end])
        files += [base.with_suffix(".py"), base / "__init__.py"]
    return [file for file in files if file.is_file()]


def _imports(path: Path) -> set[Path]:
    """Library files that the file imports, at any depth of its code."""
    found: set[Path] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE.name:
                    found.update(_module_files(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == PACKAGE.name:
            found.update(_module_files(node.module))
            for alias in node.names:
                found.update(_module_files(f"{node.module}.{alias.name}"))
    return found


@cache
def import_closure(*start: Path) -> tuple[Path, ...]:
    """The files and every library file they import, directly or not, sorted."""
    todo, done = set(start), set()
    while todo:
        path = todo.pop()
        done.add(path)
        todo |= _imports(path) - done
    return tuple(sorted(done))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


@cache
def meaning_of(path: Path) -> str:
    """SHA-256 of a Python file's parsed code without docstrings; of the bytes for any other file."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    tree = _without_docstrings(ast.parse(path.read_text(), filename=str(path)))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@cache
def code_fingerprint(*start: Path) -> str:
    """16 hex digits for the meaning of the files' whole import closure."""
    digest = hashlib.sha256()
    for path in import_closure(*(p for p in start if p.suffix == ".py")) + tuple(p for p in start if p.suffix != ".py"):
        digest.update(f"{path.relative_to(PACKAGE.parent)}\0{meaning_of(path)}\0".encode())
    return digest.hexdigest()[:16]


def make_importable(root: Path) -> None:
    """Let the interpreters of all steps (conda, cluster) find the library without its being installed."""
    paths = [str(root), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, paths)))

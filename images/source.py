"""The digest of our own source: what a module is made by, with all of ours that it stands on.

Whoever keeps what it made, names it by this too: another way to make a thing makes another thing.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parents[1]
OURS: Final = ("specs", "cloudinit", "images")
RENDERER: Final = "cloudinit.template"
"""The module that reads the templates."""


@cache
def source_digest(*modules: str) -> str:
    """sha256 over modules of ours and all of ours that they import, found by following imports.

    Templates count for whatever imports their renderer, the locked versions of libraries for
    whatever imports a library. What is imported for type checkers alone does not count.
    """
    files: set[Path] = set()
    waiting, outside = list(modules), set()
    while waiting:
        module = waiting.pop()
        file = _file_of(module)
        if file is None:
            outside.add(module.partition(".")[0])
        elif file not in files:
            files.add(file)
            waiting += _imports(file)
            if module == RENDERER:
                files.update((PROJECT / "cloudinit/templates").rglob("*.j2"))
    if outside - sys.stdlib_module_names - set(OURS):
        files.add(PROJECT / "requirements.lock")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(PROJECT).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _file_of(module: str) -> Path | None:
    """The file of a module of ours; None for a name inside a module and for others' modules."""
    if module.partition(".")[0] not in OURS:
        return None
    path = PROJECT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


@cache
def _imports(file: Path) -> tuple[str, ...]:
    """Every module, and every name that may be one, that a file imports when it runs."""
    found = []
    for node in _statements(ast.parse(file.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _statements(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Statements and those inside them, but for what only type checkers see."""
    for node in nodes:
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            yield from _statements(getattr(node, field, ()))

"""The digest of our own source: what a module is made by, with all of ours that it stands on.

Whoever keeps what it made, names it by this too: another way to make a thing makes another thing.
"""

from __future__ import annotations

import hashlib
import re
import sys
from functools import cache
from pathlib import Path
from typing import Final

from specs.facts import contents

PROJECT: Final = Path(__file__).parents[1]
OURS: Final = ("specs", "cloudinit", "images")
RENDERER: Final = "cloudinit.template"
"""The module that reads the templates."""

IMPORT: Final = re.compile(
    r"^[ ]*(?:from[ ]+(\w[\w.]*)[ ]+)?import[ ]+(\([^)]*\)|[^\n#;(]+)", re.MULTILINE
)
"""What is imported from, if anything, and what."""

CHECKED_ONLY: Final = re.compile(r"^if TYPE_CHECKING:.*\n(?:[ ]+.*\n|\n)*", re.MULTILINE)
"""What only type checkers see."""


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


def files() -> list[Path]:
    """All that decides what a spec becomes, and whether it is one: modules, templates, the locked
    libraries; and the folders whose templates and programs are taken as they are found."""
    found = [file for ours in OURS for file in (PROJECT / ours).rglob("*.py")]
    listed = [PROJECT / "images/server", PROJECT / "cloudinit/templates"]
    inside = [path for folder in listed for _, path in contents(folder)]
    return [*found, *listed, *inside, PROJECT / "requirements.lock"]


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
    """Every module, and every name that may be one, that a file imports when it runs.

    A line of prose that reads as an import counts as one: too much in a digest does no harm.
    """
    found = []
    for package, names in IMPORT.findall(CHECKED_ONLY.sub("", file.read_text(encoding="utf-8"))):
        modules = [words.split()[0] for words in names.strip("()").split(",") if words.strip()]
        found += [package, *(f"{package}.{name}" for name in modules)] if package else modules
    return tuple(found)

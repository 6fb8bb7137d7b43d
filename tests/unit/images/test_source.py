"""What counts as the source of a thing: what it imports, and nothing beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from images import source
from images.source import source_digest


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of our form: `images.oven` imports `specs.lock`, and a library in one branch."""
    for folder in ("images", "specs", "cloudinit/templates"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "images/oven.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from specs.lock import Lock\n"
        "def bake():\n    from cloudinit import template\n"
        "if TYPE_CHECKING:\n    from images import recipe\n"
    )
    (tmp_path / "images/recipe.py").write_text("import jinja2\n")
    (tmp_path / "specs/lock.py").write_text("import json\n")
    (tmp_path / "cloudinit/template.py").write_text("import jinja2\n")
    (tmp_path / "cloudinit/templates/a.j2").write_text("a")
    (tmp_path / "requirements.lock").write_text("jinja2==3\n")
    monkeypatch.setattr(source, "PROJECT", tmp_path)
    return tmp_path


def digest(*modules: str) -> str:
    source_digest.cache_clear()
    source._imports.cache_clear()
    return source_digest(*modules)


@pytest.mark.parametrize(
    ("changed", "oven", "lock"),
    [
        ("images/oven.py", True, False),
        ("specs/lock.py", True, True),
        ("cloudinit/template.py", True, False),
        ("cloudinit/templates/a.j2", True, False),
        ("requirements.lock", True, False),
        ("images/recipe.py", False, False),
    ],
)
def test_a_digest_changes_with_what_is_imported(
    project: Path, changed: str, oven: bool, lock: bool
) -> None:
    before = digest("images.oven"), digest("specs.lock")
    file = project / changed
    file.write_text(file.read_text() + "\n# changed\n")
    after = digest("images.oven"), digest("specs.lock")
    assert (before[0] != after[0], before[1] != after[1]) == (oven, lock)


def told_by_python(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The imports of statements and those inside them, but for what only type checkers see."""
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            yield from told_by_python(getattr(node, field, ()))


def test_the_imports_of_our_modules_are_those_that_python_sees() -> None:
    root = Path(source.__file__).parents[1]
    for file in (path for ours in source.OURS for path in (root / ours).rglob("*.py")):
        known = set(told_by_python(ast.parse(file.read_text()).body))
        assert set(source._imports(file)) == known, file


def test_layers_are_not_made_by_what_renders_documents() -> None:
    """A changed template must not cost every layer of packages."""
    root = Path(source.__file__).parents[1]
    waiting, seen = ["images.ovens.install"], set()
    while waiting:
        file = source._file_of(waiting.pop())
        if file and file not in seen:
            seen.add(file)
            waiting += source._imports(file)
    names = {file.relative_to(root).as_posix() for file in seen}
    assert {"images/mounts.py", "images/ovens/chamber.py", "images/ovens/seal.py"} <= names
    assert not {name for name in names if name.startswith("cloudinit/")}

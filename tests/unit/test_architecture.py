"""Imports go one way, and one module alone opens the door to processes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ORDER = ("specs", "cloudinit", "images", "tasks")
"""Each may import itself and what stands before it."""

SERVER = ROOT / "images/server"


def _modules() -> list[Path]:
    found = [ROOT / "tasks.py"]
    for package in ORDER[:-1]:
        found += sorted((ROOT / package).rglob("*.py"))
    return [path for path in found if path.exists()]


def _for_others(path: Path) -> bool:
    """Whether it is a program for servers, or of an example's containers."""
    example = path.is_relative_to(ROOT / "specs") and path.parent != ROOT / "specs"
    return example or path.is_relative_to(SERVER)


OURS = [path for path in _modules() if not _for_others(path)]


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module or ""}
    return found


def _top(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    later = set(ORDER[ORDER.index(own) + 1 :])
    assert not {_top(name) for name in _imports(path)} & later


def test_one_module_runs_processes() -> None:
    doors = {
        str(path.relative_to(ROOT))
        for path in OURS
        if {_top(name) for name in _imports(path)} & {"subprocess", "pty", "multiprocessing"}
    }
    assert doors == {"images/run.py"}


@pytest.mark.parametrize("path", sorted(SERVER.glob("*.py")), ids=lambda path: path.name)
def test_programs_for_servers_know_nothing_of_the_project(path: Path) -> None:
    assert not {_top(name) for name in _imports(path)} & set(ORDER)


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350

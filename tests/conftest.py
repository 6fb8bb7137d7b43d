"""Options of the suite, what is skipped without them, and the walls around unit tests."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

TESTS = Path(__file__).parent
WALLED = (TESTS / "unit", TESTS / "golden")
PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn"}
)
NETWORK = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"})
"""Audit events of CPython (library reference, "Audit events table")."""

WORKERS = 2
"""Processes that share whole folders of tests: who boots a machine mostly waits for it."""

FIRST = (
    "promote",
    "tunnel_clouds",
    "hetzner_faults",
    "digitalocean_faults",
    "guard_alone",
    "build",
)
"""What two processes begin with: the longest, and beside its first bake what needs no image."""

settings.register_profile("untimed", deadline=None)  # a busy machine is no bug
settings.load_profile("untimed")

_walls: list[str] = []


class BeyondWallError(BaseException):
    """A unit test reached for a process or the network; no `except Exception` may hide that."""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _walls or (event not in PROCESSES and event not in NETWORK):
        return
    local = event.startswith("socket.") and isinstance(args[0], socket.socket)
    if local and args[0].family == socket.AF_UNIX:
        return
    raise BeyondWallError(f"{_walls[-1]} must not cause {event}: a unit test is pure")


sys.addaudithook(_audit)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run what is marked full")
    parser.addoption("--live", action="store_true", help="also rent servers, for money")
    parser.addoption("--renew", action="store_true", help="write golden files and docs anew")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many as there are for `-n auto`, the default: `WORKERS`, but none beside us for a file."""
    return WORKERS if all(Path(word).is_dir() for word in config.args) else 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("full") and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="runs only with --full"))
        if item.get_closest_marker("live") and not config.getoption("--live"):
            item.add_marker(pytest.mark.skip(reason="rents servers: runs only with --live"))
        if item.get_closest_marker("root") and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root: run the suite with sudo"))
    if hasattr(config, "workerinput"):
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[bool, int]:
    """Of two processes none shall be left alone with what takes long: so that comes first."""
    name = item.path.stem.removeprefix("test_")
    return _walled(item), FIRST.index(name) if name in FIRST else len(FIRST)


def _walled(item: pytest.Item) -> bool:
    return any(item.path.is_relative_to(folder) for folder in WALLED)


@pytest.fixture(autouse=True)
def walls(request: pytest.FixtureRequest) -> Iterator[None]:
    """Unit and golden tests start no process and reach no network."""
    if not _walled(request.node):
        yield
        return
    _walls.append(request.node.nodeid)
    try:
        yield
    finally:
        _walls.pop()


@pytest.fixture
def renew(request: pytest.FixtureRequest) -> bool:
    """Whether golden files are to be written anew (`--renew`)."""
    return bool(request.config.getoption("--renew"))

"""The gate of an image. `images/verify.py` runs it in the lab's network, where the client is.

Files run in the order of their numbers: what looks comes before what writes, and what reboots
comes last.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.image.kit import Expected, Shell


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("image")
    group.addoption("--expect", type=Path, help="expectations of the plan, as JSON")
    group.addoption("--tree", type=Path, help="the image's own files, read-only, never booted")
    group.addoption("--address", action="append", required=True, help="an address of the machine")
    group.addoption("--kind", help="how it was booted: nspawn, bios or uefi")
    group.addoption("--results", type=Path, help="where to write a line of JSON for each test")


class Results:
    """Writes each test's outcome as soon as it is known."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        why = ""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message if crash else str(report.longrepr)
        elif report.skipped and isinstance(report.longrepr, tuple):
            why = report.longrepr[2]
        line = {
            "test": report.nodeid.partition("[ssh:")[0],
            "outcome": report.outcome,
            "why": why,
            "seconds": round(report.duration, 2),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--results"):
        config.pluginmanager.register(Results(config.getoption("--results")))


@pytest.fixture(scope="session")
def expect(request: pytest.FixtureRequest) -> Expected:
    """What the plan says."""
    return dict(json.loads(request.config.getoption("--expect").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def tree(request: pytest.FixtureRequest) -> Path:
    """The files in the image as they were baked."""
    return Path(request.config.getoption("--tree"))


@pytest.fixture(scope="session")
def addresses(request: pytest.FixtureRequest) -> list[str]:
    """The machine's addresses, IPv4 first."""
    given: list[str] = request.config.getoption("--address")
    return given


@pytest.fixture(scope="session")
def kind(request: pytest.FixtureRequest) -> str:
    """How the machine was booted."""
    return str(request.config.getoption("--kind"))


@pytest.fixture(scope="module")
def sh(host: Host) -> Shell:
    """Run a shell line as root on the machine and return its output; it must succeed."""

    def shell(line: str, *arguments: str) -> str:
        words = " ".join(shlex.quote(argument) for argument in arguments)
        done = host.run(f"{line} {words}" if arguments else line)
        assert done.rc == 0, f"{line}: exit code {done.rc}\n{done.stderr}{done.stdout}"
        return str(done.stdout)

    return shell

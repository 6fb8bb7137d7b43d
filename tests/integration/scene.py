"""A promote that runs, and whoever comes to a moment in it stopped there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from images.groups import group_path
from images.providers.base import IMAGE, Server
from images.providers.local_state import cloud_of
from images.run import Process
from tests.integration.deployment import NAME, Deployment
from tests.integration.faults import Moment

JOURNAL: Final = "var/lib/bakehouse/swap.jsonl"
UNIT: Final = "bakehouse-swap.service"
PATIENCE: Final = 180.0
"""Seconds until the moment of a case must have come."""


@dataclass(frozen=True, slots=True)
class Inside:
    """A server of the local cloud seen from the host: its files and its control groups."""

    pid: str
    groups: Path

    @property
    def root(self) -> Path:
        """Its files."""
        return Path(f"/proc/{self.pid}/root")

    def group(self, unit: str) -> Path:
        """The control group of one of its units."""
        return self.groups / "system.slice" / unit


def inside(place: Deployment, server: Server) -> Inside | None:
    """None while it is not up."""
    group = group_path(cloud_of(place.home).group(server.id))
    for scope in sorted(group.glob("boot*/payload/init.scope/cgroup.procs"), reverse=True):
        with suppress(OSError):
            if pids := scope.read_text(encoding="ascii").split():
                return Inside(pids[0], scope.parents[1])
    return None


@dataclass(slots=True)
class Tail:
    """What is added to a journal."""

    path: Path
    read: int = 0

    def new(self) -> list[dict[str, Any]]:
        """The whole lines since the last look."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.read)
                text = file.read()
        except OSError:
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        return [json.loads(line) for line in whole.splitlines()]


@dataclass(slots=True)
class Scene:
    """A promote that runs. `after` is done once it has ended."""

    place: Deployment
    process: Process
    blue: Server
    wanted: str
    operator: Tail
    before: dict[str, int]
    """How long each server's journal was when it began."""
    after: list[Callable[[], object]] = field(default_factory=list)

    def green(self) -> Server:
        """The server that is to take over: the newest of the wanted image."""
        fit = [
            server
            for server in self.place.servers()
            if server.labels[IMAGE] == self.wanted and server.id != self.blue.id
        ]
        assert fit, "no server of the wanted image"
        return max(fit, key=lambda server: int(server.id[1:]))

    def within(self, server: Server) -> Inside:
        """A server that is up, from the host."""
        found = inside(self.place, server)
        assert found, f"{server.name} is not up"
        return found

    @contextmanager
    def at(self, moment: Moment) -> Iterator[None]:
        """Wait for the moment; who came to it stands still meanwhile."""
        held = self._operator(moment) if moment.who == "operator" else self._unit(moment)
        with held:
            yield

    @contextmanager
    def _operator(self, moment: Moment) -> Iterator[None]:
        self.wait(moment, self.operator.new, 0.005, self.process)
        self.halt()
        yield
        self.go_on()

    def halt(self) -> None:
        """The operator stands still; not in the middle of a change of the local cloud's files, for
        whose end everybody else would wait: a real cloud's are its own."""
        while True:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGSTOP)
            with cloud_of(self.place.home).lock.open("a") as lock:
                for _ in range(20):
                    with suppress(BlockingIOError):
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        return
                    time.sleep(0.05)
            self.go_on()
            time.sleep(0.02)

    def go_on(self) -> None:
        """The operator goes on."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGCONT)

    @contextmanager
    def _unit(self, moment: Moment) -> Iterator[None]:
        tails: dict[str, Tail] = {}
        looked = 0.0

        def lines() -> list[dict[str, Any]]:
            nonlocal looked
            if time.monotonic() > looked + 0.5:
                looked = time.monotonic()
                for server in self.place.servers():
                    if server.id not in tails and (found := inside(self.place, server)):
                        seen = self.before.get(server.id, 0)
                        tails[server.id] = Tail(found.root / JOURNAL, seen)
            return [entry for tail in tails.values() for entry in tail.new()]

        self.wait(moment, lines, 0.001, self.process)
        frozen = self.within(self.green()).group(UNIT) / "cgroup.freeze"
        with suppress(OSError):  # what goes before step 3 is done by the operator's call
            frozen.write_text("1", encoding="ascii")
        yield
        with suppress(OSError):
            frozen.write_text("0", encoding="ascii")

    def wait(
        self,
        moment: Moment,
        look: Callable[[], list[dict[str, Any]]],
        pause: float,
        process: Process,
    ) -> None:
        """Until its line is there, which a process leads to."""
        deadline = time.monotonic() + PATIENCE
        while not any(moment.is_in(entry) for entry in look()):
            alive = process.alive()
            assert alive or any(moment.is_in(entry) for entry in look()), "it ended before that"
            assert time.monotonic() < deadline, f"{moment} did not come"
            time.sleep(pause)


def begun(place: Deployment, fresh: bool) -> Scene:
    """A promote to the image that does not serve."""
    wanted, blue = place.other(), place.active()
    for server in place.servers() if fresh else ():
        if server.id != blue.id:
            place.cloud.delete_server(server.id)
    before = {}
    for server in place.servers():
        if found := inside(place, server):
            with suppress(FileNotFoundError):
                before[server.id] = (found.root / JOURNAL).stat().st_size
    path = place.home.root / "history" / f"{NAME}.jsonl"
    operator = Tail(path, path.stat().st_size)
    environment = {"PATH": f"{breakable_ip(place)}:{os.environ['PATH']}"}
    process = place.begin("promote", "--image", wanted, env=environment)
    return Scene(place, process, blue, wanted, operator, before)


IP: Final = """#!/bin/sh
# ip(8), but the file {fault} says how a call that moves routes goes: `fail TIMES`, `late SECONDS`.
case " $* " in
*" -batch "*)
    what= left=
    [ ! -s {fault} ] || read -r what left <{fault}
    case $what in
    fail) : >{fault}; [ "$left" -le 1 ] || echo "fail $((left - 1))" >{fault}
        cat >/dev/null; echo "the cloud does not answer" >&2; exit 1 ;;
    late) : >{fault}; sleep "$left" ;;
    esac ;;
esac
exec {ip} "$@"
"""


def breakable_ip(place: Deployment) -> Path:
    """A folder for PATH with an ip(8) that fails on demand: the local cloud moves its IP by it."""
    folder = place.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / "ip").write_text(IP.format(fault=place.folder / "ip-fault", ip=shutil.which("ip")))
    (folder / "ip").chmod(0o755)
    return folder

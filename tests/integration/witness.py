"""Somebody apart who looks on: does more than one Postgres take writes, and what did each write?"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from images.providers.base import Server
from images.server.state import ProgramError
from images.server.wire import Wire
from specs.errors import BakehouseError
from tests.integration.deployment import Deployment
from tests.integration.scene import inside

SOCKET: Final = "run/postgresql/.s.PGSQL.5432"
RECOVERY: Final = "SELECT pg_is_in_recovery()"
EVERY: Final = 0.02
"""Seconds between two rounds of questions; servers are looked for twice a second."""

PATIENCE: Final = 90.0
"""Seconds until a server that was switched on must answer."""

WAL: Final = "/data/postgres/17/main/pg_wal"
DUMP: Final = "/usr/lib/postgresql/17/bin/pg_waldump --path={wal} --timeline={line} --start={lsn}"
CHECK: Final = (
    "runuser -u postgres -- /usr/lib/postgresql/17/bin/pg_amcheck --all --install-missing"
    " --heapallindexed --host=/run/postgresql"
)
EVIDENCE: Final = (
    "python3 -IB -m bakehouse.guard status; python3 -IB -m bakehouse.swap status;"
    " tail -n 80 /var/lib/bakehouse/swap.jsonl;"
    " journalctl --no-pager -n 600 -u 'bakehouse-*' -u 'postgresql@*' -u pgbouncer"
)


@dataclass(slots=True)
class Witness:
    """`doubles` has each time that two took writes at once; `looks` how often it was looked."""

    place: Deployment
    doubles: list[str] = field(default_factory=list)
    looks: int = 0
    eyes: dict[str, Wire] = field(default_factory=dict)

    def look(self, servers: list[tuple[Server, Path]]) -> None:
        """One round. Whoever took writes first must still do so once another one does."""
        writers: list[tuple[Server, Path]] = []
        for server, socket in servers:
            if not self.writes(server, socket):
                continue
            for other, path in writers:
                if self.writes(other, path):
                    self.doubles.append(f"{time.time():.3f}: {other.name} and {server.name}")
            writers.append((server, socket))
        self.looks += 1

    def writes(self, server: Server, socket: Path) -> bool:
        """Whether its Postgres answers and is out of recovery."""
        try:
            eye = self.eyes.get(server.id) or Wire(str(socket), "postgres", "postgres", 0.5)
            self.eyes[server.id] = eye
            return eye.value(RECOVERY) == "f"
        except (ProgramError, OSError):
            if eye_lost := self.eyes.pop(server.id, None):
                eye_lost.close()
            return False

    def up(self) -> list[tuple[Server, Path]]:
        """The servers that run, and where their Postgres is."""
        with suppress(BakehouseError):
            found = [(server, inside(self.place, server)) for server in self.place.servers()]
            return [(server, there.root / SOCKET) for server, there in found if there]
        return []

    def watch(self, over: threading.Event) -> None:
        """Until it is over."""
        servers, looked = self.up(), time.monotonic()
        while not over.wait(EVERY):
            if time.monotonic() > looked + 0.5:
                servers, looked = self.up(), time.monotonic()
            self.look(servers)
        for eye in self.eyes.values():
            eye.close()


@contextmanager
def witnessed(place: Deployment) -> Iterator[Witness]:
    """A witness that looks on all the while."""
    witness, over = Witness(place), threading.Event()
    thread = threading.Thread(target=witness.watch, args=(over,), daemon=True)
    thread.start()
    try:
        yield witness
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Fork:
    """Where a timeline ended and the next one began."""

    line: int
    lsn: str


def forks(place: Deployment, server: Server) -> list[Fork]:
    """The history of a server's timeline, oldest first (PostgreSQL documentation, "Timelines")."""
    newest = f"cat $(ls {WAL}/*.history 2>/dev/null | tail -n 1) </dev/null"
    lines = [line.split() for line in place.shell(server, newest).splitlines() if line.strip()]
    return [Fork(int(words[0]), words[1]) for words in lines]


def await_answer(place: Deployment, server: Server) -> None:
    """A server that was just switched on lets us in."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            place.shell(server, "true")
            return
        except BakehouseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def commits_past(place: Deployment, server: Server, fork: Fork) -> list[str] | None:
    """What a server committed on a timeline that had ended; None when it keeps that log no more."""
    await_answer(place, server)
    dump = DUMP.format(wal=WAL, line=fork.line, lsn=fork.lsn)
    told = place.shell(server, f"{dump} --rmgr=Transaction 2>&1 || true")
    if "could not find file" in told or "could not locate" in told:
        return None
    return [line for line in told.splitlines() if "COMMIT" in line]


def gather(place: Deployment, folder: Path) -> None:
    """What the servers and the operator wrote down, for whoever looks into a failure."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "operator.log").write_text(place.log.read_text() if place.log.exists() else "")
    journal = [str(entry) for entry in place.journal()[-400:]]
    (folder / "operator.journal").write_text("\n".join(journal))
    for server in place.servers():
        with suppress(BakehouseError):
            (folder / f"{server.name}.log").write_text(place.shell(server, EVIDENCE))

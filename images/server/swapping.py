"""One swap as green's process knows it: the order, the line to blue, the facts, the last pass."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from . import sync, wire
from .asking import Line
from .facts import Facts
from .journal import Journal
from .state import ProgramError


@dataclass(slots=True)
class Swap:
    """One swap in one process: the order, the line to blue, what is known."""

    order: dict[str, Any]
    server: dict[str, Any]
    line: Line
    journal: Journal
    facts: Facts
    evidence: dict[str, Any] | str = ""
    """The answer to `fence` that this process got, or a person's word."""
    cold: list[str] | None = None
    """Web apps that are not up here before green can write; None after a restart."""
    ready: sync.Ready | None = None
    """The last pass over the files, opened but not begun."""
    files: Pass | None = None
    late: bool = True
    """Whether requests may have run on blue that began before the hold; known by who held."""
    soon: bool = True
    """Whether some of them are no slow transfers: their answers wait, users with them."""
    known: frozenset[str] = frozenset()
    """If so: what was carried in the pause."""
    database: wire.Wire | None = None
    deadline: float = 0.0
    """When blue's guard goes back to work, on green's monotonic clock; never later than it does."""

    @property
    def epoch(self) -> int:
        """The lease's number."""
        return int(self.order["epoch"])

    @property
    def version(self) -> int:
        """Postgres' major version."""
        return int(self.server["postgres"]["version"])

    def value(self, sql: str) -> str:
        """One value from green's Postgres, over one connection for the whole swap."""
        if self.database is None:
            self.database = wire.postgres()
        try:
            return self.database.value(sql)
        except ProgramError:
            self.database.close()
            self.database = None
            raise

    def until(self, what: str, check: Callable[[], bool], seconds: float, every: float) -> None:
        """Wait until it is so. Raises ProgramError after so many seconds."""
        end = time.monotonic() + seconds
        while not check():
            if time.monotonic() > end:
                raise ProgramError(f"{what}: not after {seconds:g} s")
            time.sleep(every)


class Pass(threading.Thread):
    """The last pass over the files, beside the steps that stop the database."""

    def __init__(self, ready: sync.Ready) -> None:
        super().__init__(daemon=True)
        self.ready = ready
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        """One pass; its error is for whoever waits."""
        try:
            self.ready.run()
        except (OSError, ProgramError) as error:
            self.error = error

    def finish(self, seconds: float) -> None:
        """Wait for its end. Raises ProgramError when it failed or takes too long."""
        self.join(seconds)
        if self.is_alive():
            raise ProgramError(f"the last pass over the files takes longer than {seconds:g} s")
        if self.error:
            raise ProgramError(str(self.error))


def aged(swap: Swap) -> Facts:
    """The facts with the time that is left now."""
    return replace(swap.facts, left=swap.deadline - time.monotonic())


def unit(verb: str, name: str) -> None:
    """Ask systemd. Raises ProgramError with its words."""
    done = subprocess.run(["systemctl", verb, name], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProgramError(f"systemctl {verb} {name}: {done.stderr.strip()}")

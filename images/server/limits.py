"""What a standby must have at least as large as its primary, and how large that is.

With less a standby does not start, or stops to replay at the record by which its primary tells of
more, while it goes on to receive; and cannot be promoted then (PostgreSQL documentation, "Hot
Standby", "Administrator's Overview"). The other way round nothing is in the way.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from typing import Final

from . import state, wire
from .state import ProgramError

NAMES: Final[Mapping[str, str]] = {
    "max_connections": "max_connections setting",
    "max_worker_processes": "max_worker_processes setting",
    "max_wal_senders": "max_wal_senders setting",
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}
"""Settings of Postgres, each with its name in pg_controldata's output."""

Limits = Mapping[str, int]
"""By the names of the settings."""

PATIENCE: Final = 20.0
"""Seconds that the tunnel to the primary may take to be open."""


def of_primary() -> Limits:
    """What the peer's Postgres runs with. Raises ProgramError when it cannot be asked."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with wire.peer() as primary:
                return running(primary)
        except ProgramError:
            if time.monotonic() > end:
                raise
        time.sleep(0.2)


def running(postgres: wire.Wire) -> Limits:
    """What this Postgres runs with."""
    return {name: int(postgres.value(f"SHOW {name}")) for name in NAMES}


def configured(version: int) -> Limits:
    """What Postgres here would start with, by its files. Raises ProgramError as Postgres does."""
    return {name: _configured(version, name) for name in NAMES}


def _configured(version: int, name: str) -> int:
    file = f"config_file=/etc/postgresql/{version}/main/postgresql.conf"
    done = subprocess.run(
        [state.binary(version, "postgres"), "-C", name, "-c", file],  # first: -C is root's, too
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramError(f"postgres -C {name}: {done.stderr.strip()}")
    return int(done.stdout)


def logged(control: Mapping[str, str]) -> Limits:
    """What the log that was replayed here asks for, by the lines of pg_controldata."""
    return {name: int(control[line]) for name, line in NAMES.items()}


def largest(*found: Limits) -> Limits:
    """Of each the largest."""
    return {name: max(limits[name] for limits in found) for name in NAMES}


def lacking(found: Limits, needed: Limits) -> list[str]:
    """The names of those that are too small."""
    return [name for name in needed if found[name] < needed[name]]

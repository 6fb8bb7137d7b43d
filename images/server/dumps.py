"""Dumps of all databases, as files for as long as they are read; Postgres keeps room to write."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from . import state
from .child import Look, ended
from .state import ProgramError

DUMPS: Final = Path("/var/lib/bakehouse/dumps")

LEAST: Final = 1 << 30
"""Bytes that dumps leave free at least: Postgres, which may write on the same disk, fails when that
is full (PostgreSQL documentation, "Disk Full Failure")."""

PATIENCE: Final = 600
"""Seconds that a dump waits for a lock: its owner, an app, may hold one for ever."""

EVERY: Final = 30.0
"""Seconds between two looks for a dump that waits."""

SAID: Final = 400
"""Characters that are told of why a dump failed: the statement may name every table."""

ADMINISTRATOR: Final = (f"--host={state.SOCKETS}", "--username=postgres")

_THOSE: Final = "FROM pg_database WHERE datname NOT IN ('template0', 'template1')"
"""By name, since an owner may call his own a template (`IS_TEMPLATE`)."""

LISTED: Final = (
    f"SELECT datallowconn AND datconnlimit <> -2, pg_encoding_to_char(encoding), datname {_THOSE}"
)
"""-2 is what a `DROP DATABASE` that was cut short leaves, which nobody can connect to (PostgreSQL
documentation, "pg_database")."""

SIZE: Final = f"SELECT sum(pg_database_size(oid)) {_THOSE}"

WAITING: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity JOIN pg_locks USING (pid)
WHERE usename = 'postgres' AND application_name = 'pg_dump' AND NOT granted
  AND waitstart < clock_timestamp() - interval '11 min'
"""
"""`PATIENCE` is pg_dump's own limit, for tables only; it may have to wait for a sequence, too."""


@contextmanager
def dumps(postgres: Mapping[str, Any] | None, *, watching: bool) -> Iterator[list[str]]:
    """Dumps of every database and of the roles, there for as long as they are read; in words, which
    database is not among them, and why.

    They are not compressed: Borg finds what did not change since the last ones, and compresses.
    Raises ProgramError when the roles cannot be had, or the disk would fill up, unless nobody is
    `watching`: a throwaway's disk is small, and holds nothing.
    """
    shutil.rmtree(DUMPS, ignore_errors=True)
    try:
        if postgres:
            DUMPS.mkdir(mode=0o700)
        yield dump_all(postgres, watching) if postgres else []
    finally:
        shutil.rmtree(DUMPS, ignore_errors=True)


def dump_all(postgres: Mapping[str, Any], watching: bool) -> list[str]:
    """Every database, also one that is no longer declared, each as of one moment; the failures.

    One that is not declared and takes no connections is somebody's intention, and only told.
    """
    version = int(postgres["version"])
    declared = {database["name"] for database in postgres["databases"]}
    size = int(state.psql(version, SIZE))
    asked = time.monotonic()

    def look() -> None:
        nonlocal asked
        if watching and (why := full(os.statvfs(DUMPS), size, made())):
            raise ProgramError(why)
        if time.monotonic() - asked > EVERY:
            end_waiting(version)
            asked = time.monotonic()

    look()
    rows = [line.split("|", 2) for line in state.psql(version, LISTED).splitlines()]
    found = {name: (usable == "t", encoding) for usable, encoding, name in rows}
    lacking = [f"{name}: it is not there" for name in sorted(declared - found.keys())]
    for name, (usable, encoding) in sorted(found.items()):
        if usable:
            why = dump(version, name, encoding, look)
        elif name in declared:
            why = "it takes no connections"
        else:
            print(f"<4>{name} is not dumped: it takes no connections", file=sys.stderr)
            continue
        lacking += [f"{name}: {why}"] if why else []
    command = [state.binary(version, "pg_dumpall"), *ADMINISTRATOR, "--globals-only"]
    if why := failure([*command, f"--file={DUMPS / 'globals.sql'}"], version, look):
        raise ProgramError(why)
    return lacking


def dump(version: int, database: str, encoding: str, look: Look) -> str:
    """Dump a database. Why that failed, and then nothing of it is left; "" when it did not.

    `encoding` is the database's own: the default is what its owner has set for connections.
    """
    target = DUMPS / f"{database.replace('/', '%2F')}.dump"
    command = [state.binary(version, "pg_dump"), *ADMINISTRATOR]
    command += ["--format=custom", "--compress=none", f"--encoding={encoding}"]
    command += [f"--lock-wait-timeout={PATIENCE * 1000}", f"--file={target}"]
    why = failure([*command, f"--dbname={database}"], version, look)
    if why:
        target.unlink(missing_ok=True)
    return why


def end_waiting(version: int) -> None:
    """A dump that waits for a lock for longer than it should fails, and the next one begins."""
    with suppress(ProgramError):  # the dump itself tells what is wrong with Postgres
        state.psql(version, WAITING)


def made() -> int:
    """Bytes of the dumps so far."""
    return sum(file.stat().st_size for file in DUMPS.iterdir())


def full(disk: os.statvfs_result, size: int, dumped: int) -> str:
    """Why no dump may go on on this disk; "" when it may. `size` are all databases' bytes, `dumped`
    those of the dumps so far. What only root may use counts as taken: Postgres is not root.
    """
    free, least = disk.f_bavail * disk.f_frsize, floor(disk.f_blocks * disk.f_frsize)
    if free >= least:
        return ""
    return (
        f"no room to dump the databases, which have {gib(size)}: with {gib(dumped)} of dumps, now "
        f"removed, {gib(free)} were free where {DUMPS} is, and {gib(least)} must stay free, or "
        "Postgres fails on a full disk; there is no new backup until you free some space, or swap "
        "to a server with a larger disk"
    )


def floor(size: int) -> int:
    """Bytes that dumps leave free on a file system of `size` bytes."""
    return max(LEAST, size // 20)


def gib(size: int) -> str:
    """Bytes for a person."""
    return f"{size / (1 << 30):.1f} GiB"


def failure(command: Sequence[str], version: int, look: Look) -> str:
    """Run a program of Postgres; what it said when it failed, else "". Raises as `look`."""
    code, said = ended(command, state.environment(version), look=look, quiet=True)
    return f"{Path(command[0]).name} failed: {said.strip()[:SAID]}" if code else ""

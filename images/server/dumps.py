"""Dumps of all databases, as files for as long as they are read; Postgres keeps room to write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from . import state
from .child import Look, ended
from .state import ProgramError

DUMPS: Final = Path("/var/lib/bakehouse/dumps")

LEAST: Final = 1 << 30
"""Bytes that dumps leave free at least: Postgres, which may write on the same disk, fails when that
is full (PostgreSQL documentation, "Disk Full Failure")."""


@contextmanager
def dumps(postgres: Mapping[str, Any] | None, *, watching: bool) -> Iterator[None]:
    """Dumps of every database and of the roles, there for as long as they are read.

    They are not compressed: Borg finds what did not change since the last ones, and compresses.
    Raises ProgramError when the disk would fill up, unless nobody is `watching`: a throwaway's disk
    is small, and holds nothing.
    """
    shutil.rmtree(DUMPS, ignore_errors=True)
    try:
        if postgres:
            DUMPS.mkdir(mode=0o700)
            dump_all(int(postgres["version"]), watching)
        yield
    finally:
        shutil.rmtree(DUMPS, ignore_errors=True)


def dump_all(version: int, watching: bool) -> None:
    """Every database, also one that is no longer declared, each as of one moment."""
    server = [f"--host={state.SOCKETS}", "--username=postgres"]
    those = "FROM pg_database WHERE datallowconn AND NOT datistemplate"
    databases = sorted(state.psql(version, f"SELECT datname {those}").splitlines())
    size = int(state.psql(version, f"SELECT sum(pg_database_size(oid)) {those}"))

    def look() -> None:
        if watching and (why := full(os.statvfs(DUMPS), size, made())):
            raise ProgramError(why)

    look()
    for database in databases:
        target = DUMPS / f"{database.replace('/', '%2F')}.dump"
        command = [state.binary(version, "pg_dump"), *server, "--format=custom", "--compress=none"]
        checked([*command, f"--file={target}", f"--dbname={database}"], look)
    command = [state.binary(version, "pg_dumpall"), *server, "--globals-only"]
    checked([*command, f"--file={DUMPS / 'globals.sql'}"], look)


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


def checked(command: Sequence[str], look: Look) -> None:
    """Run a command. Raises ProgramError with what it said, and as `look`."""
    code, said = ended(command, look=look, quiet=True)
    if code != 0:
        raise ProgramError(f"{Path(command[0]).name} failed: {said.strip()}")

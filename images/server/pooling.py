"""The pooler in a swap: at rest while the data changes hands, then pointed at the peer."""

from __future__ import annotations

import grp
import os
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit

from . import state, wire
from .state import ProgramError

Target = Literal["here", "peer"]

SEEN_OFF: Final = state.LIB / "seen-off"
"""The epoch of the swap whose users of before are gone."""

FOLDER: Final = state.RUN / "pooler"
FILE: Final = "databases.ini"
SOCKETS: Final[Mapping[Target, str]] = {
    "here": state.SOCKETS,
    "peer": str(state.RUN / "peer"),
}


def point(target: Target) -> None:
    """The pooler's next connections go to Postgres here or to the peer's, also after a restart.

    It need not run; when it does it has read the change on return.
    """
    write(target)
    try:
        console = wire.pooler()
    except ProgramError:
        return  # it does not run, and will read the file when it starts
    with console:
        console.query("RELOAD")


def write(target: Target) -> None:
    """The file that pgbouncer.ini includes."""
    names = [database["name"] for database in state.server()["postgres"]["databases"]]
    gid = grp.getgrnam("pgbouncer").gr_gid
    state.write(FOLDER / FILE, text(names, target), mode=0o640, gid=gid)


def text(names: Iterable[str], target: Target) -> str:
    """A line for each database."""
    lines = [f"{name} = host={SOCKETS[target]} port=5432 dbname='{name}'" for name in names]
    return "\n".join(["[databases]", *lines, ""])


def wanted() -> Target:
    """Where the role wants the pooler's connections to go."""
    return "peer" if state.recorded() == "following" and not users_gone() else "here"


def users_gone() -> bool:
    """Whether nobody comes to this server any more, since a swap made it follow."""
    return SEEN_OFF.exists() and SEEN_OFF.read_text() == str(state.read_json(state.ROLE)["epoch"])


def see_off() -> None:
    """It is so from now on, also after a reboot: apps see the copy here, and can change nothing."""
    state.write(SEEN_OFF, str(state.read_json(state.ROLE)["epoch"]), mode=0o644)
    if state.server()["postgres"]:
        point("here")


def target() -> Target:
    """Where they go."""
    path = FOLDER / FILE
    peer = path.exists() and f"host={SOCKETS['peer']} " in path.read_text()
    return "peer" if peer else "here"


def paused(console: wire.Wire) -> bool:
    """Whether the pooler holds its clients."""
    return ("paused", "yes") in console.query("SHOW STATE")


def pause(console: wire.Wire, seconds: float, disconnect: bool = False) -> None:
    """No transaction is open and none begins; clients wait.

    After `seconds` the pooler goes on and a ProgramError tells so; or with `disconnect` (sessions
    that are never over) what is left in Postgres is cut off.
    """
    if paused(console):
        return
    console.send("PAUSE")
    try:
        try:
            console.receive(seconds)
        except TimeoutError:
            if not disconnect:
                raise
            with wire.postgres() as postgres:
                postgres.query(CUT)
            console.receive(5)
    except TimeoutError:
        with wire.pooler() as other:
            other.query("RESUME")
        raise ProgramError(
            f"the pooler is not at rest after {seconds:g} s: a transaction is open for too long"
        ) from None


CUT: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND usename <> 'postgres'"
)


def resume(console: wire.Wire) -> None:
    """The pooler serves its clients, by the file as it is now."""
    if paused(console):
        console.query("RELOAD")
        console.query("RESUME")


def backends(console: wire.Wire) -> set[int]:
    """The processes of Postgres that serve the pooler."""
    console.send("SHOW SERVERS")
    rows = console.receive()
    if not rows:
        return set()
    at = console.columns.index("remote_pid")
    return {int(row[at] or 0) for row in rows}


def reach(patience: float = 5) -> None:
    """The way to the peer's Postgres is open, and is the pooler's own. Raises ProgramError."""
    for database in state.server()["postgres"]["databases"]:
        with wire.Wire(wire.PEER, database["owner"], database["name"], patience) as peer:
            peer.query("SELECT pg_is_in_recovery()")


def probe(patience: float = 10) -> str:
    """An app's own way to a write: by its login, through the pooler; the transaction's number.

    "" when no app has a database. Raises ProgramError when that is not answered, or by a standby.
    """
    for app in state.server()["apps"]:
        path = state.RUN / "apps" / f"{app['name']}.env"
        if app["database"] and path.exists():
            url = path.read_text().strip().removeprefix("DATABASE_URL=")
            return _write_as(url, patience)
    return ""


def _write_as(url: str, patience: float) -> str:
    parts = urlsplit(url)
    login: dict[str, Any] = {
        "PGHOST": parts.hostname,
        "PGPORT": str(parts.port),
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": unquote(parts.path.lstrip("/")),
        "PGSSLMODE": "disable",
    }
    version = int(state.server()["postgres"]["version"])
    try:
        done = subprocess.run(
            [state.binary(version, "psql"), "-XqAt", "-c", "SELECT pg_current_xact_id()"],
            env={**os.environ, **login},
            capture_output=True,
            text=True,
            check=False,
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(f"the pooler did not answer within {patience:g} s") from None
    if done.returncode != 0:
        raise ProgramError(f"the pooler's answer to a write: {done.stderr.strip()}")
    return done.stdout.strip()

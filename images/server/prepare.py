"""Before a swap: this server becomes a warm copy of its peer. Safe to repeat, quick when it is one.

The peer serves meanwhile and notices nothing but the reading.
"""

from __future__ import annotations

import subprocess
import time
from typing import Any, Final

from . import acts, limits, record, replication, state, sync
from .asking import Line
from .journal import Journal
from .state import ProgramError
from .swapping import unit

STREAMS: Final = 20.0
"""Seconds after which a standby that does not stream is made anew."""

START: Final = 6 * 3600.0
"""Seconds that a standby may take to replay what it must before it can be asked anything."""

WARM: Final = 150.0
"""Seconds that web apps may take to be up on a database that they can only read."""


def prepare(order: dict[str, Any]) -> dict[str, Any]:
    """A standby that streams, files, logins, web apps that run; what there is then.

    Raises ProgramError when the data cannot be had; apps that are not up are only told.
    """
    epoch, server = int(order["epoch"]), state.server()
    journal = Journal(epoch)
    record.standby(epoch)
    line = Line(epoch)
    try:
        line.ask("hello", limit=60)
        acts.stop_apps()  # a former blue's may still take uploads, which the mirror would spoil
        _timed(journal, "2 files", lambda: sync.run(sync.folders(server)))
        if server["postgres"]:
            version = int(server["postgres"]["version"])
            _timed(journal, "2 standby", lambda: _standby(line, version))
            unit("restart", "bakehouse-databases.service")
            unit("start", "pgbouncer.service")
        cold = _timed(journal, "2 apps", lambda: warm_apps(server))
        begin = time.monotonic()
        left: dict[str, float] = {**sync.pending(sync.folders(server))}
        left = {**left, "seconds": round(time.monotonic() - begin, 3)}
        return {"streaming": bool(server["postgres"]), "cold": cold, "pending": left}
    finally:
        line.close()
        sync.close()


def _timed(journal: Journal, step: str, act: Any) -> Any:
    begin = time.monotonic()
    found = act()
    journal.write(step, "done", seconds=round(time.monotonic() - begin, 3))
    return found


def _standby(line: Line, version: int) -> None:
    """Postgres here streams from the peer; its data is copied when it has none that fits."""
    line.ask("slot", name=replication.NAME)
    primary = limits.of_primary()
    name = f"postgresql@{version}-main.service"
    home = state.cluster_folder(version)
    state.setting_file(acts.SYNC, "")
    if (home / "PG_VERSION").exists():
        acts.start_standby(replication.stand_by(version, primary), START)
        if _streaming(line):
            return
        print(f"the cluster in {home} cannot follow the peer's: it is copied anew")
        unit("stop", name)
    replication.copy(version, primary)
    unit("start", name)
    if not _streaming(line):
        raise ProgramError("Postgres here does not follow the peer: journalctl -u postgresql@*")


def _streaming(line: Line) -> bool:
    """Whether the peer sends us its log: here a receiver looks alive while it is being refused."""
    end = time.monotonic() + STREAMS
    while time.monotonic() < end:
        rows = line.ask("replication")["rows"]
        ours = [row["state"] for row in rows if row["application_name"] == replication.NAME]
        if "streaming" in ours or "catchup" in ours:
            return True
        time.sleep(0.2)
    return False


def warm_apps(server: dict[str, Any]) -> list[str]:
    """Start all web apps; the names of those that are not up in time."""
    cold = cold_apps(server)
    if not cold:
        return []
    units = [f"bakehouse-app@{name}.service" for name in cold]
    start = ["systemctl", "start", "--no-block", *units]
    subprocess.run(start, check=False, capture_output=True)
    end = time.monotonic() + WARM
    while cold := cold_apps(server):
        if time.monotonic() > end:
            break
        time.sleep(0.3)
    return cold


def cold_apps(server: dict[str, Any]) -> list[str]:
    """The web apps that do not serve here: some cannot start on a database that they only read."""
    names = [app["name"] for app in server["apps"] if app["kind"] == "web"]
    if not names:
        return []
    units = [f"bakehouse-app@{name}.service" for name in names]
    done = subprocess.run(
        ["systemctl", "is-active", *units], capture_output=True, text=True, check=False
    )
    words = done.stdout.splitlines()
    return [name for name, word in zip(names, words, strict=True) if word != "active"]

"""What a swap does to a server that serves: each act small, safe to repeat, and told by its name.

The hand calls them on the peer's behalf, the guard when it restores. Nothing here decides.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from . import holding, late, limits, pooling, record, release, replication, roles, state, wire
from .roles import Role
from .state import ProgramError

SYNC: Final = "50-sync.conf"
TIMERS: Final = ("bakehouse-backup.timer", "bakehouse-backup-check.timer")


def version() -> int:
    """Postgres' major version. Raises ProgramError on a server without."""
    postgres = state.server()["postgres"]
    if not postgres:
        raise ProgramError("this server has no Postgres")
    return int(postgres["version"])


def postgres_unit() -> str:
    """The name of Postgres' unit."""
    return f"postgresql@{version()}-main.service"


def systemctl(*words: str, patience: float = 120) -> None:
    """Run systemctl. Raises ProgramError with its words."""
    done = _run(["systemctl", "--no-ask-password", *words], patience)
    if done.returncode != 0:
        raise ProgramError(f"systemctl {' '.join(words)}: {done.stderr.strip()}")


def _run(
    command: Sequence[str], patience: float, text: str = ""
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=patience
        )
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{command[0]} {command[1]}: no end after {patience:g} s") from None


def active(units: Sequence[str]) -> list[str]:
    """Those of these units that run or are about to."""
    if not units:
        return []
    done = _run(["systemctl", "is-active", *units], 30)
    states = done.stdout.splitlines()
    return [unit for unit, word in zip(units, states, strict=True) if word not in _DOWN]


_DOWN: Final = ("inactive", "failed", "unknown")


def workers() -> list[str]:
    """Units that may run on one server only: worker apps, and what runs by the clock."""
    facts = state.server()
    found = [f"bakehouse-app@{app['name']}.service" for app in facts["apps"] if _works(app)]
    return found + (list(TIMERS) if facts["borg"] else [])


def _works(app: Mapping[str, Any]) -> bool:
    return bool(app["kind"] == "worker")


def start_workers() -> None:
    """Workers and timers are starting, as far as the guard lets them."""
    if units := workers():
        systemctl("start", "--no-block", *units)


def reload_caddy() -> None:
    """Caddy, if it runs, reads what its role is now."""
    if active(["caddy.service"]):
        systemctl("try-reload-or-restart", "caddy.service")


def begin_work() -> None:
    """What one server does alone: release commands that are due, workers, certificates."""
    for app in state.server()["apps"]:
        if release.due(app):
            release.run(app)
    start_workers()
    reload_caddy()


def stop_workers(patience: float = 60) -> list[str]:
    """Workers are gone and timers, and a backup that was running, are stopped; who was active."""
    units = workers()
    if state.server()["borg"]:
        units += [timer.replace(".timer", ".service") for timer in TIMERS]
    running = active(units)
    if running:
        systemctl("stop", *running, patience=patience)
    return running


def stop_apps(patience: float = 90) -> None:
    """The apps with files are gone: nothing writes into them any more."""
    if units := [f"bakehouse-app@{app['name']}.service" for app in holding.apps()]:
        systemctl("stop", *units, patience=patience)
    late.drop()


def see_off() -> None:
    """The users of before a swap are gone, and what they wrote was carried.

    Apps with files end; the others keep running for the next swap, and no longer work on the peer's
    database. Caddy leaves the certificate authority to the peer. Docker forgets connections to an
    app when that ends, some of ours with them (it deletes what it read a moment before, by ports
    that may be another connection's by now), so this comes last.
    """
    if state.recorded() != "following":
        return
    stop_apps()
    pooling.see_off()
    reload_caddy()


def start_apps() -> None:
    """The apps with files are starting."""
    if units := [f"bakehouse-app@{app['name']}.service" for app in holding.apps()]:
        systemctl("start", "--no-block", *units)


def sync_names(postgres: wire.Wire, names: Sequence[str]) -> None:
    """Postgres waits for these standbys with each commit, or for none; it has read so."""
    quoted = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    text = state.setting("synchronous_standby_names", quoted) if names else ""
    state.setting_file(SYNC, text)
    postgres.query("SELECT pg_reload_conf()")
    end = time.monotonic() + 5
    while postgres.value("SHOW synchronous_standby_names") != quoted:
        if time.monotonic() > end:
            raise ProgramError("Postgres does not take the names of its synchronous standbys")
        time.sleep(0.002)


def postmaster() -> int:
    """The pid of Postgres, 0 when it does not run."""
    path = state.cluster_folder(version()) / "postmaster.pid"
    try:
        pid = int(path.read_text().splitlines()[0])
        os.kill(pid, 0)
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        return 0
    return pid if command == "postgres" else 0


def stop_postgres(seconds: float) -> None:
    """Postgres has shut down in order: sessions cut, all of its log sent to the standbys.

    By its own signal (PostgreSQL documentation, "Shutting Down the Server"), since systemctl would
    cost a part of the pause; to systemd it is a service that ended well.
    Raises ProgramError when it still runs after `seconds`.
    """
    pid = postmaster()
    if not pid:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGINT)
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if not poll.poll(seconds * 1000):
            raise ProgramError(f"Postgres still runs {seconds:g} s after it was told to stop")
    finally:
        os.close(handle)


def follow() -> None:
    """Postgres runs as a standby of the peer, and keeps no log for anybody."""
    start_standby(replication.stand_by(version(), limits.of_primary()))
    with wire.postgres() as postgres:
        drop_slot(postgres, replication.NAME)


def start_standby(needed: Mapping[str, int], patience: float = 600) -> None:
    """Postgres, which `replication.stand_by` has made a standby, runs with these limits: anew when
    it ran with less, as after a boot before the primary could be asked."""
    unit = postgres_unit()
    systemctl("reset-failed", unit)
    systemctl("start", unit, patience=patience)
    with wire.postgres() as postgres:
        lacking = limits.lacking(limits.running(postgres), needed)
    if lacking:
        systemctl("restart", unit, patience=patience)


def fit_files(role: Role) -> None:
    """Postgres' files say the same as the role, before anybody else may change it."""
    if not state.server()["postgres"]:
        return
    major = version()
    if not (state.cluster_folder(major) / "PG_VERSION").exists():
        return
    if role.state == "fenced":
        state.setting_file(SYNC, "")
        replication.stand_by(major, None)
    elif role.pending:
        state.setting_file(SYNC, "")
        state.setting_file(replication.FILE, "")
        home = state.cluster_folder(major)
        (home / "standby.signal").unlink(missing_ok=True)
        state.sync_folder(home)


def back_to_work() -> None:
    """Everything that a swap stopped or held runs again. Raises ProgramError at what does not.

    A server that promoted itself and heard only after a reboot that it serves ends here as well.
    """
    facts = state.server()
    if facts["postgres"]:
        unit = postgres_unit()
        systemctl("reset-failed", unit)
        systemctl("start", unit, patience=600)
        with wire.postgres() as postgres:
            sync_names(postgres, ())
            with suppress(ProgramError):  # the peer may still use it
                drop_slot(postgres, replication.NAME)
        pooling.write("here")
        systemctl("start", "pgbouncer.service")
        with wire.pooler() as console:
            console.query("RELOAD")
            pooling.resume(console)
        systemctl("start", "--no-block", "bakehouse-databases.service")
    holding.drain(False)
    start_apps()
    holding.drop()
    late.drop()
    start_workers()


def make_slot(postgres: wire.Wire, name: str) -> None:
    """A slot of this name keeps the log for a standby from now on.

    One that had to give up its log (`max_slot_wal_keep_size`) would keep none: it is made anew.
    """
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
    lost = f"slot_name = {wire.quoted(name)} AND wal_status = 'lost' AND NOT active"
    postgres.query(f"{drop} WHERE {lost}")
    known = f"SELECT FROM pg_replication_slots WHERE slot_name = {wire.quoted(name)}"
    make = f"SELECT pg_create_physical_replication_slot({wire.quoted(name)}, true)"
    postgres.query(f"{make} WHERE NOT EXISTS ({known})")


def drop_slot(postgres: wire.Wire, name: str) -> None:
    """No slot of this name keeps any log. Raises ProgramError while a standby uses it."""
    drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots"
    postgres.query(f"{drop} WHERE slot_name = {wire.quoted(name)}")


def retire(epoch: int) -> Role:
    """A server that was given up, and came back, writes no more: fenced, and Postgres stopped."""
    role = record.change(lambda found: roles.retire(found, epoch, state.boot_id()), fit_files)
    stop_workers()
    if state.server()["postgres"]:
        stop_postgres(60)
    return role

"""Two clusters, one log: making a standby of the peer, where it is in the log, letting it lead.

The peer's Postgres is always reached through the socket that `bakehouse-peer.service` holds open.
What a server learns of replication lies in conf.d, never in the data (`ALTER SYSTEM`): the data
goes from server to server.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from . import cluster, limits, state, wire
from .limits import Limits
from .state import ProgramError

NAME: Final = "bakehouse"
"""The standby's application_name and its slot on the primary, in whichever direction."""

PEER: Final = "/run/bakehouse/peer"
"""The folder with the socket that leads to the other server's Postgres."""

FILE: Final = "60-replication.conf"
ROLE: Final = wire.REPLICATOR


@dataclass(frozen=True, slots=True)
class Control:
    """What pg_controldata says: `state` in its own words, `lsn` of the latest checkpoint, `limits`
    of the primary by whose log the cluster is as it is."""

    state: str
    lsn: str
    timeline: int
    system: str
    limits: Limits


def lsn(text: str) -> int:
    """A place in the log as a number of bytes, from `16/B374D848` (PostgreSQL docs, pg_lsn)."""
    high, slash, low = text.strip().partition("/")
    if not slash:
        raise ProgramError(f"{text!r} is no place in Postgres' log")
    return (int(high, 16) << 32) + int(low, 16)


def known(name: object) -> str:
    """The name under which the peer follows. Raises ProgramError for any other one."""
    if name != NAME:
        raise ProgramError(f"{name!r}: a standby here is called {NAME}, and nothing else")
    return NAME


def known_list(names: object) -> list[str]:
    """The same of the names of synchronous standbys: there is the one, or none."""
    if names not in ([], [NAME]):
        raise ProgramError(f"{names!r}: a standby here is called {NAME}, and nothing else")
    return [NAME] if names else []


def standbys(postgres: wire.Wire) -> list[dict[str, str]]:
    """Who streams from here: application_name, state, sync_state and places in the log."""
    names = ("application_name", "state", "sync_state", "sent", "flush", "replay")
    rows = postgres.query(
        "SELECT application_name, state, sync_state, sent_lsn, flush_lsn, replay_lsn"
        " FROM pg_stat_replication"
    )
    return [dict(zip(names, row, strict=True)) for row in rows]


def settings(raised: Limits) -> str:
    """The standby's settings: where its primary is, the slot that keeps the log for it, and limits
    that its primary's do not exceed."""
    lines = [f"{setting} = {limit}\n" for setting, limit in raised.items()]
    return (
        "# Where the primary is that this server follows (replication.py).\n"
        + state.setting("primary_conninfo", f"host={PEER} user={ROLE} application_name={NAME}")
        + state.setting("primary_slot_name", NAME)
        + "".join(lines)
    )


def stand_by(version: int, primary: Limits | None) -> Limits:
    """Make the cluster here a standby of the peer from its next start on; on disk on return.

    The limits that it has then, none of them smaller than the `primary`'s or than the log here
    asks for. As long as None is known of the primary the cluster must not be started.
    """
    raised: Limits = {}
    if primary is not None:
        raised = limits.largest(limits.configured(version), controldata(version).limits, primary)
    state.setting_file(FILE, settings(raised))
    signal = state.cluster_folder(version) / "standby.signal"
    owner = pwd.getpwnam("postgres")
    handle = os.open(signal, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        os.fchown(handle, owner.pw_uid, owner.pw_gid)
        os.fsync(handle)
    finally:
        os.close(handle)
    state.sync_folder(signal.parent)
    return raised


def leave(version: int) -> None:
    """Forget the primary: what leads follows nobody, also after a restart.

    With the next start this server has the limits of its image again: a primary may have less than
    its standby, and a spec that wants less is to get it some day. Not before that standby has
    replayed of the larger ones, which it learns from the running Postgres.
    """
    state.setting_file(FILE, "")
    reload(version)


def reload(version: int) -> None:
    """Postgres reads its settings again, when it runs."""
    unit = f"postgresql@{version}-main.service"
    subprocess.run(["systemctl", "--no-block", "reload", unit], check=False, capture_output=True)


def controldata(version: int) -> Control:
    """Of the cluster here, running or not. Raises ProgramError when there is none."""
    home = state.cluster_folder(version)
    done = subprocess.run(
        [state.binary(version, "pg_controldata"), f"--pgdata={home}"],
        env={"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ProgramError(f"pg_controldata: {done.stderr.strip()}")
    return parsed(done.stdout)


def parsed(text: str) -> Control:
    """pg_controldata's output, as of the C locale."""
    pairs = (line.partition(":")[::2] for line in text.splitlines())
    values = {name: value.strip() for name, value in pairs}
    return Control(
        state=values["Database cluster state"],
        lsn=values["Latest checkpoint location"],
        timeline=int(values["Latest checkpoint's TimeLineID"]),
        system=values["Database system identifier"],
        limits=limits.logged(values),
    )


def backup_command(version: int, home: Path, name: str = NAME) -> list[str]:
    """Copy the peer's cluster into `home`, with the log that goes on meanwhile by the slot."""
    return [
        state.binary(version, "pg_basebackup"),
        f"--pgdata={home}",
        f"--host={PEER}",
        f"--username={ROLE}",
        "--no-password",
        "--wal-method=stream",
        f"--slot={name}",
        "--checkpoint=fast",
    ]


def copy(version: int, primary: Limits) -> None:
    """A copy of the peer's cluster, complete and a standby before it gets its name.

    Needs the slot on the peer. Takes the place of a cluster that is here: Postgres must be down.
    Raises ProgramError with pg_basebackup's own words.
    """
    home, owner = state.cluster_folder(version), pwd.getpwnam("postgres")
    state.folder(home.parent.parent, 0o755)
    state.folder(home.parent, 0o700, owner.pw_uid, owner.pw_gid)
    new, old = home.with_name("main.new"), home.with_name("main.old")
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    done = subprocess.run(
        backup_command(version, new),
        user="postgres",
        group="postgres",
        extra_groups=["pgbouncer"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        raise ProgramError(f"pg_basebackup: {done.stderr.strip()}")
    cluster.remember()
    if home.exists():
        home.rename(old)
    new.rename(home)
    state.sync_folder(home.parent)
    stand_by(version, primary)
    shutil.rmtree(old, ignore_errors=True)

"""What must be known of a server before it is swapped: facts only, judged by who asks."""

from __future__ import annotations

import os
import platform
from typing import Any, Final

from . import holding, limits, outcomes, pooling, replication, state, wire

SETTINGS: Final = (
    *limits.NAMES,
    "wal_level",
    "wal_sender_timeout",
    "archive_mode",
    "archive_command",
    "data_checksums",
    "server_version_num",
    "server_version",
)
"""What a standby must have at least as large as its primary (PostgreSQL documentation, "Hot
Standby"), and what keeps a stop waiting."""


def plain() -> dict[str, Any]:
    """Facts of any server. `free` and `files` are bytes: on /data's disk, and used by all on it.

    `backup` and `check` are there when the spec has backups: `outcomes.last_backup`, `last_check`.
    """
    boot, server = state.boot(), state.server()
    disk = os.statvfs(state.DATA)
    found = {
        "generation": boot["generation"],
        "image": boot["image"],
        "hostname": boot["hostname"],
        "name": server["name"],
        "boot_id": state.boot_id(),
        "architecture": platform.machine(),
        "free": disk.f_bavail * disk.f_frsize,
        "files": (disk.f_blocks - disk.f_bfree) * disk.f_frsize,
        "held": [app["name"] for app in holding.apps()],
        "strategy": server["data"]["strategy"],
        "postgres": None,
    }
    if not server["borg"]:
        return found
    check = outcomes.last_check(server["borg"]["repository"])
    return {**found, "backup": outcomes.last_backup(), "check": check}


def facts(postgres: wire.Wire, console: wire.Wire) -> dict[str, Any]:
    """`plain`, and those of Postgres.

    `size` is bytes, `longest` the oldest transaction's seconds, `past_pooler` who else is connected
    and is no walsender, `archive_backlog` files that wait for the archive command, `collations` the
    databases' collation versions as recorded and as this system has them. `raises_limits`: as a
    standby this server takes over what its primary has more of (`limits`); older ones do not say.
    """
    names = ", ".join(wire.quoted(name) for name in SETTINGS)
    settings = postgres.query(f"{SHOW} WHERE name IN ({names})")
    control = replication.controldata(int(state.server()["postgres"]["version"]))
    found = {
        "settings": {row[0]: row[1] for row in settings},
        "system": control.system,
        "timeline": control.timeline,
        "in_recovery": postgres.value("SELECT pg_is_in_recovery()") == "t",
        "size": int(postgres.value(SIZE)),
        "longest": float(postgres.value(LONGEST)),
        "prepared": int(postgres.value("SELECT count(*) FROM pg_prepared_xacts")),
        "archive_backlog": int(postgres.value(BACKLOG)),
        "collations": [list(row) for row in postgres.query(COLLATIONS)],
        "past_pooler": past_pooler(postgres, console),
        "pooling": state.server()["postgres"]["pooling"],
        "raises_limits": True,
    }
    return {**plain(), "postgres": found}


def past_pooler(postgres: wire.Wire, console: wire.Wire) -> list[dict[str, Any]]:
    """Sessions in Postgres that neither this server's pooler made nor we."""
    ours = pooling.backends(console)
    names = ("pid", "role", "database", "application", "state")
    rows = postgres.query(SESSIONS)
    return [dict(zip(names, row, strict=True)) for row in rows if int(row[0]) not in ours]


SHOW: Final = "SELECT name, setting FROM pg_settings"
SIZE: Final = "SELECT coalesce(sum(pg_database_size(oid)), 0) FROM pg_database"
LONGEST: Final = (
    "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)"
    " FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
SESSIONS: Final = (
    "SELECT pid, usename, datname, application_name, state FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    " AND application_name <> 'bakehouse'"
)
BACKLOG: Final = (
    "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
    " AND current_setting('archive_mode') <> 'off'"
)
COLLATIONS: Final = (
    "SELECT datname, datlocprovider, coalesce(datlocale, datcollate), datcollversion,"
    " pg_database_collation_actual_version(oid) FROM pg_database WHERE datallowconn"
)

"""What must be true of apps and databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from specs.finding import Finding, near
from specs.model import App, Spec

MAX_APPS: Final = 500
"""Ports from `layout.APP_PORT_BASE` up, `layout.MAX_REPLICAS` for each, end below those that lead
to the peer's, `layout.PEER_PORTS` above."""

_ROLES: Final = {"postgres", "pgbouncer", "replicator", "public", "none"}
_DATABASES: Final = {"postgres", "template0", "template1", "pgbouncer"}

_OWN_SETTINGS: Final = {
    *(
        "config_file",
        "data_directory",
        "hba_file",
        "ident_file",
        "external_pid_file",
        "cluster_name",
        "port",
    ),
    *("listen_addresses", "unix_socket_directories", "unix_socket_group"),
    *("unix_socket_permissions", "password_encryption", "wal_level", "hot_standby"),
    *("archive_mode", "archive_command", "archive_library", "restore_command"),
    *("primary_conninfo", "primary_slot_name", "synchronous_standby_names"),
    *("include", "include_dir", "include_if_exists"),
}
"""Settings of Postgres by which servers find, trust and follow each other."""


def _image_sources(spec: Spec) -> Iterator[Finding]:
    for app in spec.apps:
        given = [
            key
            for key, value in (
                ("image", app.image),
                ("archive", app.archive),
                ("build", app.build),
            )
            if value
        ]
        if len(given) != 1:
            yield Finding(
                ("apps", app.name),
                f"has {' and '.join(given)}" if given else "has no image",
                "an app has exactly one of image, archive, build",
            )
        if app.build and not app.build.packages:
            yield Finding(
                ("apps", app.name, "build"),
                "names no packages",
                "name at least the interpreter, for example `packages: [python3]`",
            )
        if app.build and not app.command:
            yield Finding(
                ("apps", app.name),
                "is built and has no command",
                "for example `command: [python3, /app/server.py]`",
            )


def _apps(spec: Spec) -> Iterator[Finding]:
    if len(spec.apps) > MAX_APPS:
        yield Finding(("apps",), f"are {len(spec.apps)}; {MAX_APPS} is the most")
    for app in spec.apps:
        here = ("apps", app.name)
        if app.health and not app.port:
            yield Finding(
                (*here, "health"), "needs a port", "add `port`, on which the app answers HTTP"
            )
        if app.kind == "worker" and app.replicas > 1:
            yield Finding(
                (*here, "replicas"),
                f"is {app.replicas}, and a worker never runs twice at once",
                "leave `replicas` out, or make two workers",
            )
        if app.publish and app.replicas > 1:
            yield Finding(
                (*here, "publish"),
                f"gives one port of the server to {app.replicas} replicas",
                "an app that publishes has one replica",
            )
        if app.database and "DATABASE_URL" in app.environment:
            yield Finding(
                (*here, "environment", "DATABASE_URL"),
                "is set by `database` already",
                "leave one of them out",
            )
        yield from _volumes(app)


def _volumes(app: App) -> Iterator[Finding]:
    taken: dict[str, str] = {}
    for name, target in app.volumes.items():
        here = ("apps", app.name, "volumes", name)
        for other_name, other in taken.items():
            inside = PurePosixPath(target).is_relative_to(other)
            if inside or PurePosixPath(other).is_relative_to(target):
                yield Finding(
                    here,
                    f"at {target} overlaps volume {other_name} at {other}",
                    "give each volume a path of its own",
                )
        if PurePosixPath(target).is_relative_to("/run/secrets"):
            yield Finding(here, "is where secrets are", "choose a path outside of /run/secrets")
        taken[name] = target


def _app_databases(spec: Spec) -> Iterator[Finding]:
    declared = [database.name for database in spec.postgres.databases] if spec.postgres else []
    for app in spec.apps:
        if app.database and app.database not in declared:
            add = f"add `postgres: {{databases: {{{app.database}: {{}}}}}}`"
            yield Finding(
                ("apps", app.name, "database"),
                f"there is no database {app.database} in postgres.databases",
                near(app.database, declared, add),
            )


def _databases(spec: Spec) -> Iterator[Finding]:
    for database in spec.postgres.databases if spec.postgres else ():
        here = ("postgres", "databases", database.name)
        if database.name in _DATABASES:
            yield Finding(here, "is a database of the system", "choose another name")
        elif database.owner in _ROLES or database.owner.startswith(("pg_", "bakehouse")):
            yield Finding(
                (*here, "owner"),
                f"the role {database.owner} is the system's",
                "choose another owner",
            )


def _settings(spec: Spec) -> Iterator[Finding]:
    for name in spec.postgres.settings if spec.postgres else ():
        here = ("postgres", "settings", name)
        if name in _OWN_SETTINGS:
            yield Finding(here, "is set by Bakehouse, which swaps servers by it", "remove it")
        elif name == "max_connections":
            yield Finding(here, "follows from the pools", "set postgres.pool_size instead")


ASSERTIONS: Final = (_image_sources, _apps, _app_databases, _databases, _settings)

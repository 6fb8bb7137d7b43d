"""Postgres, with PgBouncer in front of it from the first day.

All settings lie in the image and none in the data, so a new generation brings its own. Only the
local administrator and the pooler reach Postgres, each known by its system account over the unix
socket; a password opens the pooler only. `docs/postgres.md` says what each pooling mode costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cloudinit.data import hardening
from cloudinit.part import File, Part
from cloudinit.template import render
from specs import layout
from specs.model import Postgres
from specs.packages import PEER_ACCOUNT
from specs.plan import ImagePlan

SPARE_CONNECTIONS: Final = 20
"""For the administrator, backups and the three that Postgres keeps for superusers."""

CONNECTION_STEP: Final = 100
"""A standby needs as many connections as its primary: steps keep generations alike."""

_UNITS: Final = "/etc/systemd/system"
_NETWORK: Final = "/etc/systemd/network/20-bakehouse-pooler"


def part(plan: ImagePlan) -> Part:
    """Cluster, databases and pooler; nothing when the spec has no Postgres."""
    postgres = plan.postgres
    if not postgres:
        return Part()
    etc = f"/etc/postgresql/{postgres.version}/main"
    replica = plan.data.strategy == "replica"
    files = (
        *_postgres_files(postgres, replica),
        *_pooler_files(plan, postgres, replica),
        *_link_files(),
    )
    return Part(
        files=files,
        commands=(
            f"mkdir -p {etc}/conf.d {etc}/hba.d",
            "chmod 0750 /var/lib/postgresql",
        ),
        enable=(
            "bakehouse-cluster.service",
            "bakehouse-databases.service",
            "pgbouncer.service",
            "postgresql.service",
            "systemd-networkd.service",
        ),
    )


def _postgres_files(postgres: Postgres, replica: bool) -> tuple[File, ...]:
    version = postgres.version
    etc = f"/etc/postgresql/{version}/main"
    values: dict[str, object] = {
        "version": version,
        "etc": etc,
        "home": f"{layout.DATA}/postgres/{version}/main",
        "hardening": hardening(),
        "databases": postgres.databases,
        "owners": sorted({database.owner for database in postgres.databases}),
        "settings": [(name, quoted(value)) for name, value in sorted(postgres.settings.items())],
        "max_connections": max_connections(postgres),
        "peer": PEER_ACCOUNT if replica else "",
    }

    def text(template: str) -> str:
        return render(f"postgres/{template}.j2", **values)

    def setting(name: str, content: str) -> File:
        return File(f"{etc}/{name}", content, "0640", "root:postgres")

    def unit(name: str, template: str) -> File:
        return File(f"{_UNITS}/{name}", text(template))

    return (
        *(setting(x, text(x)) for x in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf")),
        setting("start.conf", "auto\n"),
        unit(f"postgresql@{version}-main.service.d/bakehouse.conf", "postgresql.service.conf"),
        unit("bakehouse-cluster.service", "bakehouse-cluster.service"),
        unit("bakehouse-databases.service", "bakehouse-databases.service"),
    )


def _pooler_files(plan: ImagePlan, postgres: Postgres, replica: bool) -> tuple[File, ...]:
    values: dict[str, object] = {
        "address": layout.POOLER_ADDRESS,
        "port": layout.POOLER_PORT,
        "link": layout.POOLER_LINK,
        "hardening": hardening(),
        "databases": postgres.databases,
        "sources": pooler_sources(plan),
        "guarded": replica,
        "targets": layout.POOLER_TARGETS,
        **pooling(postgres),
    }

    def file(name: str, template: str) -> File:
        content = render(f"postgres/{template}.j2", **values)
        return File(f"/etc/pgbouncer/{name}", content, "0640", "root:pgbouncer")

    unit = render("postgres/pgbouncer.service.conf.j2", **values)
    return (
        file("pgbouncer.ini", "pgbouncer.ini"),
        file("pgbouncer_hba.conf", "pgbouncer_hba.conf"),
        file("pgbouncer_ident.conf", "pgbouncer_ident.conf"),
        File(f"{_UNITS}/pgbouncer.service.d/bakehouse.conf", unit),
    )


def _link_files() -> tuple[File, ...]:
    link, address = layout.POOLER_LINK, layout.POOLER_ADDRESS
    return (
        File(f"{_NETWORK}.netdev", render("postgres/link.netdev.j2", link=link)),
        File(f"{_NETWORK}.network", render("postgres/link.network.j2", link=link, address=address)),
    )


def pooler_sources(plan: ImagePlan) -> list[str]:
    """Networks that may log in at the pooler: the containers', and this server itself."""
    containers = [plan.docker.subnet] if plan.docker else []
    return [f"{layout.POOLER_ADDRESS}/32", *containers]


def pooling(postgres: Postgres) -> Mapping[str, object]:
    """PgBouncer's settings for the spec's `pooling`.

    `none` keeps the pooler in the way, since it is what holds clients during a promote, but gives
    each client a connection of its own, made for it and closed after it (`server_lifetime` 0).
    """
    alone = postgres.pooling == "none"
    return {
        "pool_mode": "session" if alone else postgres.pooling,
        "pool_size": postgres.max_clients if alone else postgres.pool_size,
        "max_clients": postgres.max_clients,
        "single_use": alone,
    }


def client_limit(plan: ImagePlan) -> int:
    """Connections that one app may have to the pooler, all its replicas together.

    The pooler counts whoever connects, before any login, so without a limit one app could keep the
    others out. Of several each gets half of `max_clients`; a single one leaves a tenth, for this
    server asks its pooler, too.
    """
    assert plan.postgres is not None
    total = plan.postgres.max_clients
    return max(1, total // 2 if len(plan.apps) > 1 else total * 9 // 10)


def max_connections(postgres: Postgres) -> int:
    """Connections that Postgres allows: every pool full, and the spare ones.

    The pooler opens at most one for each client, and `pool_size` for each database (each has one
    role). A setting of the spec wins later in the file.
    """
    pools = len(postgres.databases) * postgres.pool_size
    wanted = postgres.max_clients if postgres.pooling == "none" else pools
    need = min(wanted, postgres.max_clients) + SPARE_CONNECTIONS
    return -(-need // CONNECTION_STEP) * CONNECTION_STEP


def quoted(value: str) -> str:
    """A value for postgresql.conf (PostgreSQL documentation, "Setting Parameters")."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

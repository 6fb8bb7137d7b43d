"""What the image says of Postgres and its pooler."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudinit import postgres
from cloudinit.part import Part
from specs.model import Database, Pooling, Postgres
from specs.plan import ImagePlan

SHOP = Database("shop", "keeper")


def content(plan: ImagePlan, path: str) -> str:
    (found,) = (file for file in postgres.part(plan).files if file.path == path)
    return found.content


def test_nothing_without_postgres(plan: ImagePlan) -> None:
    assert postgres.part(replace(plan, postgres=None)) == Part()


def test_hba_lets_in_the_administrator_the_pooler_and_nobody_else(plan: ImagePlan) -> None:
    plan = replace(plan, postgres=Postgres(databases=(SHOP, Database("wiki", "keeper"))))
    lines = content(plan, "/etc/postgresql/17/main/pg_hba.conf").splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        'local all "postgres" peer map=administrator',
        'local "shop" "keeper" peer map=pooler',
        'local "wiki" "keeper" peer map=pooler',
        "include_dir hba.d",
    ]
    maps = content(plan, "/etc/postgresql/17/main/pg_ident.conf").splitlines()
    assert [line.split() for line in maps if not line.startswith("#")] == [
        ["administrator", "postgres", '"postgres"'],
        ["administrator", "root", '"postgres"'],
        ["pooler", "pgbouncer", '"keeper"'],
    ]


def test_what_the_spec_sets_comes_after_our_defaults_and_before_what_is_not_its_to_set(
    plan: ImagePlan,
) -> None:
    settings = {"listen_addresses": "*", "random_page_cost": "4"}
    plan = replace(plan, postgres=Postgres(settings=settings))
    lines = content(plan, "/etc/postgresql/17/main/postgresql.conf").splitlines()
    order = [
        "random_page_cost = 1.1",
        "include '/run/bakehouse/postgres.conf'",
        "listen_addresses = '*'",
        "random_page_cost = '4'",
        "listen_addresses = ''",
        "include_dir 'conf.d'",
    ]
    assert [line for line in lines if line in order] == order


@pytest.mark.parametrize(
    ("value", "text"), [("on", "'on'"), ("it's", "'it''s'"), ("a\\b", "'a\\\\b'"), ("", "''")]
)
def test_values_are_quoted_as_postgres_reads(value: str, text: str) -> None:
    assert postgres.quoted(value) == text


def test_containers_and_this_server_may_log_in_at_the_pooler(plan: ImagePlan) -> None:
    plan = replace(plan, postgres=Postgres(databases=(SHOP,)))
    lines = content(plan, "/etc/pgbouncer/pgbouncer_hba.conf").splitlines()
    assert lines == [
        'local "pgbouncer" "pgbouncer" peer map=administrator',
        'local "shop" "keeper" scram-sha-256',
        'host "shop" "keeper" 10.88.88.1/32 scram-sha-256',
        'host "shop" "keeper" 172.30.0.0/16 scram-sha-256',
    ]


@pytest.mark.parametrize(
    ("pooling", "mode", "size", "lifetime"),
    [
        ("transaction", "transaction", "7", False),
        ("session", "session", "7", False),
        ("none", "session", "90", True),
    ],
)
def test_pooling(plan: ImagePlan, pooling: Pooling, mode: str, size: str, lifetime: bool) -> None:
    section = Postgres(databases=(SHOP,), pooling=pooling, pool_size=7, max_clients=90)
    lines = content(replace(plan, postgres=section), "/etc/pgbouncer/pgbouncer.ini").splitlines()
    assert f"pool_mode = {mode}" in lines
    assert f"default_pool_size = {size}" in lines
    assert ("server_lifetime = 0" in lines) is lifetime
    assert "max_client_conn = 90" in lines


@pytest.mark.parametrize(
    ("section", "connections"),
    [
        (Postgres(), 100),
        (Postgres(databases=(SHOP,) * 4, pool_size=20), 100),
        (Postgres(databases=(SHOP,) * 5, pool_size=20), 200),
        (Postgres(databases=(SHOP,) * 50, pool_size=20, max_clients=500), 600),
        (Postgres(databases=(SHOP,), pooling="none", max_clients=500), 600),
    ],
)
def test_postgres_has_a_connection_for_all_that_the_pooler_may_open(
    section: Postgres, connections: int
) -> None:
    assert postgres.max_connections(section) == connections


def test_secrets_of_the_pooler_are_not_for_everyone(plan: ImagePlan) -> None:
    files = {file.path: file for file in postgres.part(plan).files}
    for name in ("pgbouncer.ini", "pgbouncer_hba.conf", "pgbouncer_ident.conf"):
        file = files[f"/etc/pgbouncer/{name}"]
        assert (file.mode, file.owner) == ("0640", "root:pgbouncer")


def test_the_poolers_address_is_not_waited_for_at_boot(plan: ImagePlan) -> None:
    network = content(plan, "/etc/systemd/network/20-bakehouse-pooler.network").splitlines()
    assert "RequiredForOnline=no" in network
    assert "ConfigureWithoutCarrier=yes" in network
    assert "Address=10.88.88.1/32" in network


def test_the_pooler_is_bound_to_nothing_that_stops(plan: ImagePlan) -> None:
    unit = content(plan, "/etc/systemd/system/pgbouncer.service.d/bakehouse.conf")
    assert "Requires=" not in unit
    assert "BindsTo=" not in unit
    assert "PartOf=" not in unit


@pytest.mark.parametrize(("clients", "apps", "limit"), [(500, 2, 250), (500, 1, 450), (1, 1, 1)])
def test_one_app_alone_never_has_all_of_the_pooler(
    plan: ImagePlan, clients: int, apps: int, limit: int
) -> None:
    section = Postgres(databases=(SHOP,), max_clients=clients)
    assert postgres.client_limit(replace(plan, postgres=section, apps=plan.apps[:apps])) == limit

"""Databases, their owners, and the pooler as the only way to them."""

from __future__ import annotations

import pytest

from tests.image.kit import Expected, Shell

ADMIN = "psql --no-psqlrc -qAtX -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres"


@pytest.fixture
def postgres(expect: Expected) -> Expected:
    if not expect["postgres"]:
        pytest.skip("the spec has no Postgres")
    return dict(expect["postgres"])


@pytest.fixture
def apps_with_database(expect: Expected, postgres: Expected) -> list[Expected]:
    found = [app for app in expect["apps"] if app["database"]]
    if not found:
        pytest.skip("no app has a database")
    return found


def test_version_and_safety(sh: Shell, postgres: Expected) -> None:
    query = (
        "SELECT current_setting('server_version_num')::int / 10000,"
        " current_setting('data_checksums'), current_setting('fsync'),"
        " current_setting('data_directory'), pg_is_in_recovery()"
    )
    version = postgres["version"]
    home = f"/data/postgres/{version}/main"
    assert sh(ADMIN + " -c", query).strip() == f"{version}|on|on|{home}|f"


def test_databases_have_their_owners(sh: Shell, postgres: Expected) -> None:
    query = (
        "SELECT datname, pg_get_userbyid(datdba), datlocprovider, datlocale FROM pg_database"
        " WHERE NOT datistemplate AND datname <> 'postgres'"
    )
    rows = {tuple(line.split("|")) for line in sh(ADMIN + " -c", query).splitlines()}
    assert rows == {(d["name"], d["owner"], "b", "C.UTF-8") for d in postgres["databases"]}


def test_extensions(sh: Shell, postgres: Expected) -> None:
    for database in postgres["databases"]:
        query = "SELECT extname FROM pg_extension"
        found = set(sh(f"{ADMIN} -d {database['name']} -c", query).split())
        assert set(database["extensions"]) <= found


def test_owners_have_no_power(sh: Shell, postgres: Expected) -> None:
    query = (
        "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> 'postgres' AND"
        " NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"
    )
    owners = {database["owner"] for database in postgres["databases"]}
    assert set(sh(ADMIN + " -c", query).split()) == owners
    powerful = "SELECT rolname FROM pg_roles WHERE rolsuper"
    assert sh(ADMIN + " -c", powerful).split() == ["postgres"]


def test_settings(sh: Shell, postgres: Expected) -> None:
    for name, value in postgres["settings"].items():
        query = (
            f"SELECT count(*) FROM pg_file_settings WHERE name = '{name}' AND applied"
            f" AND setting = $bakehouse${value}$bakehouse$"
        )
        assert sh(ADMIN + " -c", query).strip() == "1", name
    assert sh(ADMIN + " -c", "SELECT count(*) FROM pg_settings WHERE pending_restart") == "0\n"


def test_apps_reach_their_database_through_the_pooler(
    sh: Shell, apps_with_database: list[Expected], postgres: Expected
) -> None:
    for app in apps_with_database:
        line = sh("cat", f"/run/bakehouse/apps/{app['name']}.env").strip()
        url = line.removeprefix("DATABASE_URL=")
        assert f"@{postgres['pooler']}/" in url
        query = "SELECT current_database(), current_setting('application_name') IS NOT NULL"
        assert sh("psql -qAtX -c", query, url).strip() == f"{app['database']}|t"


def test_the_pooler_wants_the_right_password(sh: Shell, apps_with_database: list[Expected]) -> None:
    for app in apps_with_database:
        line = sh("cat", f"/run/bakehouse/apps/{app['name']}.env").strip()
        scheme, _, rest = line.removeprefix("DATABASE_URL=").partition("://")
        user, _, place = rest.partition("@")
        wrong = f"{scheme}://{user.partition(':')[0]}:wrong@{place}"
        said = sh("psql -qAtX -c 'SELECT 1' \"$0\" 2>&1 || true".replace('"$0"', repr(wrong)))
        assert "authentication failed" in said, said


def test_nobody_gets_past_the_pooler(sh: Shell, postgres: Expected) -> None:
    """Postgres listens on no address, and its socket takes nobody but the pooler and root."""
    listening = sh("ss --tcp --listening --numeric --no-header --processes")
    assert [line for line in listening.splitlines() if '"postgres"' in line] == []
    for database in postgres["databases"]:
        said = sh(
            f"runuser -u nobody -- psql -h /run/postgresql -U {database['owner']}"
            f" -d {database['name']} -c 'SELECT 1' 2>&1 || true"
        )
        assert "Permission denied" in said or "no pg_hba.conf entry" in said, said
    rules = sh(ADMIN + " -c", "SELECT type, auth_method FROM pg_hba_file_rules").split()
    assert set(rules) <= {"local|peer"}


def test_pool_mode(sh: Shell, postgres: Expected) -> None:
    mode = "session" if postgres["pooling"] == "none" else postgres["pooling"]
    shown = sh("psql -qAtX -h /run/pgbouncer -p 6432 -U pgbouncer pgbouncer -c 'SHOW CONFIG'")
    assert f"pool_mode|{mode}|" in shown

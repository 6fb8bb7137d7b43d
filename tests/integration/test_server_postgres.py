"""The cluster by role, databases that survive kills and reboots, and no way past the pooler."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cloudinit import postgres
from images.lab import lab
from images.machine import Description, Machine, booted
from specs.model import Pooling
from specs.plan import Role, resolve
from specs.read import read

pytestmark = pytest.mark.root

Describe = Callable[[Role, bool], Description]

HOBBY = Path(__file__).parents[2] / "specs/hobby.yaml"
PSQL = "/usr/lib/postgresql/17/bin/psql --no-psqlrc -qAtX -v ON_ERROR_STOP=1"
ADMIN = f"{PSQL} -h /run/postgresql -U postgres"
CONSOLE = f"{PSQL} -h /run/pgbouncer -p 6432 -U pgbouncer pgbouncer"
CLUSTER = "/data/postgres/17/main"
STATE = "/data/state/databases.json"
ENVIRONMENT = "/run/bakehouse/apps/guestbook.env"
UNITS = "bakehouse-cluster postgresql@17-main bakehouse-databases pgbouncer"


@pytest.fixture(scope="module")
def primary(hobby: Describe) -> Iterator[Machine]:
    """A first primary, with everything of Postgres up."""
    with lab() as place, booted(place, hobby("primary", True)) as machine:
        machine.run(f"systemctl start {UNITS}")
        yield machine


def url(machine: Machine) -> str:
    """The guestbook's DATABASE_URL."""
    return machine.run(f"cat {ENVIRONMENT}").stdout.strip().removeprefix("DATABASE_URL=")


def ask(machine: Machine, sql: str) -> str:
    """What the app gets for a query, by its own way."""
    return machine.run(f"{PSQL} {shlex.quote(url(machine))}", stdin=sql).stdout.strip()


def refused(machine: Machine, command: str) -> str:
    """The error of a command that must fail."""
    done = machine.run(command, check=False)
    assert done.code != 0, done.stdout
    return done.stderr


def console(machine: Machine, *commands: str) -> str:
    """Run commands on the pooler's console as root."""
    words = "".join(f" -c {shlex.quote(command)}" for command in commands)
    return machine.run(CONSOLE + words).stdout


def state_of(machine: Machine, unit: str) -> str:
    """systemd's word for a unit."""
    return machine.run(f"systemctl is-active {unit}", check=False).stdout.strip()


def test_the_app_owns_its_database(primary: Machine) -> None:
    assert ask(primary, "SELECT current_user, current_database();") == "guestbook|guestbook"
    ask(primary, "CREATE TABLE owned (x int); INSERT INTO owned VALUES (1); DROP TABLE owned;")
    locale = "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = 'guestbook'"
    assert primary.run(ADMIN, stdin=locale).stdout == "b|C.UTF-8\n"
    assert primary.run(ADMIN, stdin="SHOW data_checksums").stdout == "on\n"


def test_a_database_does_not_let_others_in(primary: Machine) -> None:
    parts = urlsplit(url(primary))
    for database in ("postgres", "template1", "pgbouncer", "nowhere"):
        other = shlex.quote(parts._replace(path=f"/{database}").geturl())
        assert "FATAL" in refused(primary, f"{PSQL} {other} -c 'SELECT 1'")
    wrong = shlex.quote(f"postgresql://guestbook:wrong@{parts.hostname}:{parts.port}/guestbook")
    assert "authentication failed" in refused(primary, f"{PSQL} {wrong} -c 'SELECT 1'")
    query = "SELECT has_database_privilege('guestbook', 'postgres', 'CONNECT')"
    assert primary.run(ADMIN, stdin=query).stdout == "f\n"


@pytest.mark.parametrize("account", ["root", "postgres", "nobody", "deploy", "caddy"])
def test_no_account_passes_the_pooler_even_with_the_password(
    primary: Machine, account: str
) -> None:
    password = urlsplit(url(primary)).password
    attempt = f"PGPASSWORD={password} {PSQL} -h /run/postgresql -U guestbook guestbook"
    said = refused(primary, f"runuser -u {account} -- env {attempt} -c 'SELECT 1'")
    assert "Permission denied" in said or "Peer authentication failed" in said


def test_the_pooler_is_nobody_else_in_postgres(primary: Machine) -> None:
    pooler = f"runuser -u pgbouncer -- {PSQL} -h /run/postgresql"
    assert primary.run(f"{pooler} -U guestbook guestbook -c 'SELECT 1'").stdout == "1\n"
    assert "Peer authentication" in refused(primary, f"{pooler} -U postgres postgres -c 'SELECT 1'")
    assert "no pg_hba.conf" in refused(primary, f"{pooler} -U guestbook postgres -c 'SELECT 1'")


def test_postgres_listens_on_its_socket_only(primary: Machine) -> None:
    listening = primary.run("ss --listening --tcp --numeric --no-header --processes").stdout
    assert '"postgres"' not in listening
    (pooler,) = (line for line in listening.splitlines() if '"pgbouncer"' in line)
    assert pooler.split()[3] == "10.88.88.1:6432"


def test_the_password_is_in_no_log_and_not_in_postgres(primary: Machine) -> None:
    password = urlsplit(url(primary)).password
    assert password
    assert len(password) >= 43  # 32 bytes in base64
    journal = primary.run("journalctl --no-pager").stdout.splitlines()
    ours = " sudo["  # this test names the password to sudo
    assert [line for line in journal if password in line and ours not in line] == []
    query = "SELECT count(*) FROM pg_authid WHERE rolpassword IS NOT NULL"
    assert primary.run(ADMIN, stdin=query).stdout == "0\n"
    listed = primary.run("cat /run/bakehouse/pooler/userlist.txt").stdout
    assert password not in listed
    assert primary.run(f"stat -c '%a %U' {STATE} {ENVIRONMENT}").stdout == "600 root\n" * 2


def test_the_console_is_for_root(primary: Machine) -> None:
    assert "transaction" in console(primary, "SHOW POOLS")
    assert "rejected" in refused(primary, f"runuser -u nobody -- {CONSOLE} -c 'SHOW POOLS'")
    tcp = f"{PSQL} postgresql://pgbouncer@10.88.88.1:6432/pgbouncer -c 'SHOW POOLS'"
    assert "FATAL" in refused(primary, tcp)


def test_a_paused_pooler_keeps_its_clients_while_postgres_restarts(primary: Machine) -> None:
    """The pooler is bound to nothing that stops, and a held query gets its answer."""
    console(primary, "PAUSE")
    query = f"{PSQL} {shlex.quote(url(primary))} -c 'SELECT 42'"
    held = f"{query} >/run/held 2>&1; echo done >>/run/held"
    primary.run(f"systemd-run --quiet sh -c {shlex.quote(held)}")
    primary.run("systemctl stop postgresql@17-main")
    assert state_of(primary, "pgbouncer") == "active"
    primary.run("systemctl start postgresql@17-main")
    assert "done" not in primary.run("cat /run/held").stdout
    console(primary, "RESUME")
    primary.run("while ! grep -q done /run/held; do sleep 0.05; done")
    assert primary.run("cat /run/held").stdout == "42\ndone\n"


@pytest.mark.parametrize(
    ("pooling", "lent_again"), [("none", False), ("session", True), ("transaction", True)]
)
def test_pooling_lends_as_documented(primary: Machine, pooling: Pooling, lent_again: bool) -> None:
    """One client after another, alone: the same connection to Postgres, or each its own."""
    plan = resolve(read(HOBBY), None, ()).image
    assert plan.postgres
    plan = replace(plan, postgres=replace(plan.postgres, pooling=pooling))
    files = {file.path: file.content for file in postgres.part(plan).files}
    primary.run("systemctl stop bakehouse-watch bakehouse-app@guestbook")
    primary.run("cat >/etc/pgbouncer/pgbouncer.ini", stdin=files["/etc/pgbouncer/pgbouncer.ini"])
    primary.run("systemctl restart pgbouncer")
    served = [ask(primary, "SELECT pg_backend_pid();") for _ in range(3)]
    assert (len(set(served)) == 1) is lent_again
    primary.run("systemctl start bakehouse-watch bakehouse-app@guestbook")


def test_killed_in_the_middle_and_run_again(primary: Machine) -> None:
    """From nothing, killed later and later: the next run always ends where it should."""
    unit = "bakehouse-databases"
    primary.run("systemctl stop bakehouse-app@guestbook bakehouse-watch")
    for hundredths in range(4, 40, 6):
        primary.run(f"systemctl stop {unit} pgbouncer && rm -f {STATE} {ENVIRONMENT}")
        primary.run(f"{ADMIN} -c 'DROP DATABASE guestbook' -c 'DROP ROLE guestbook'")
        primary.run(f"systemctl start --no-block {unit}; sleep {hundredths / 100}")
        primary.run(f"systemctl kill --signal=KILL {unit}; systemctl reset-failed {unit}; true")
        kept = primary.run(f"cat {STATE}", check=False).stdout
        primary.run(f"systemctl restart {unit} && systemctl start pgbouncer")
        assert ask(primary, "SELECT current_user;") == "guestbook"
        if kept:
            assert primary.run(f"cat {STATE}").stdout == kept
    primary.run("systemctl start bakehouse-watch bakehouse-app@guestbook")


def test_a_new_database_appears_and_none_is_ever_dropped(primary: Machine) -> None:
    facts = json.loads(primary.run("cat /etc/bakehouse/server.json").stdout)
    ask(primary, "CREATE TABLE IF NOT EXISTS kept (x int);")
    before = primary.run(f"cat {STATE}").stdout
    databases = facts["postgres"]["databases"]
    added = {"name": "wiki", "owner": "wiki_owner", "extensions": ["pg_trgm", "earthdistance"]}
    try:
        for wanted in ([*databases, added], [added]):
            changed = {**facts, "postgres": {**facts["postgres"], "databases": wanted}}
            primary.run("cat >/etc/bakehouse/server.json", stdin=json.dumps(changed))
            primary.run("systemctl restart bakehouse-databases")
    finally:
        primary.run("cat >/etc/bakehouse/server.json", stdin=json.dumps(facts))
        primary.run("systemctl restart bakehouse-databases")
    query = "SELECT datname, pg_get_userbyid(datdba), datacl FROM pg_database WHERE datname='wiki'"
    assert primary.run(ADMIN, stdin=query).stdout == (
        "wiki|wiki_owner|{wiki_owner=CTc/wiki_owner}\n"
    )
    extensions = primary.run(f"{ADMIN} wiki", stdin="SELECT extname FROM pg_extension").stdout
    assert {"pg_trgm", "cube", "earthdistance"} <= set(extensions.split())
    assert ask(primary, "SELECT count(*) FROM kept;") == "0"
    logins = json.loads(primary.run(f"cat {STATE}").stdout)["roles"]
    assert logins["guestbook"] == json.loads(before)["roles"]["guestbook"]
    assert "wiki_owner" in logins


def test_an_app_cannot_borrow_the_administrators_rights(primary: Machine) -> None:
    """What the administrator runs in an app's database takes no function of the app's for its own
    (as CVE-2018-1058 describes)."""
    trap = """
        CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN ALTER ROLE guestbook SUPERUSER; RETURN 'SELECT 1'; END $$;
        ALTER DATABASE guestbook SET search_path = public, pg_catalog;
    """
    facts = primary.run("cat /etc/bakehouse/server.json").stdout
    try:
        ask(primary, trap)
        wanted = facts.replace('"extensions": []', '"extensions": ["citext"]')
        assert wanted != facts
        primary.run("cat >/etc/bakehouse/server.json", stdin=wanted)
        primary.run("systemctl restart bakehouse-databases")
    finally:
        primary.run("cat >/etc/bakehouse/server.json", stdin=facts)
    query = "SELECT rolsuper FROM pg_roles WHERE rolname = 'guestbook'"
    assert primary.run(ADMIN, stdin=query).stdout == "f\n"
    query = "SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'citext'"
    assert primary.run(f"{ADMIN} guestbook", stdin=query).stdout == "public\n"
    ask(primary, "DROP FUNCTION format(text, text); ALTER DATABASE guestbook RESET search_path;")


def test_an_app_cannot_keep_the_administrator_out_of_its_database(primary: Machine) -> None:
    """Whatever it sets for its own database, also while that has to be changed."""
    facts = primary.run("cat /etc/bakehouse/server.json").stdout
    wanted = facts.replace('"extensions": []', '"extensions": ["pg_trgm"]')
    assert wanted != facts
    settings = (
        *("default_transaction_read_only = on", "statement_timeout = '1ms'", "role = guestbook"),
        *("lock_timeout = '1ms'", "transaction_timeout = '1ms'", "client_encoding = 'LATIN1'"),
        *("idle_session_timeout = '1ms'", "default_table_access_method = nowhere"),
        "local_preload_libraries = nowhere",
    )
    traps = "".join(f"ALTER DATABASE guestbook SET {setting}; " for setting in settings)
    try:
        primary.run(
            f"{ADMIN} postgres",
            stdin="SET ROLE guestbook; ALTER DATABASE guestbook IS_TEMPLATE true;"
            f" BEGIN; {traps} COMMIT;",
        )
        primary.run("cat >/etc/bakehouse/server.json", stdin=wanted)
        primary.run("systemctl restart bakehouse-databases")
    finally:
        primary.run(
            ADMIN,
            stdin="ALTER DATABASE guestbook RESET ALL; ALTER DATABASE guestbook IS_TEMPLATE false;",
        )
        primary.run("cat >/etc/bakehouse/server.json", stdin=facts)
        primary.run("systemctl restart bakehouse-databases")
        console(primary, "RECONNECT")
    query = "SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'"
    assert primary.run(f"{ADMIN} guestbook", stdin=query).stdout == "1\n"


def test_one_database_that_fails_keeps_no_other_from_being_made(primary: Machine) -> None:
    facts = json.loads(primary.run("cat /etc/bakehouse/server.json").stdout)
    wrong = {"name": "aaa", "owner": "aaa", "extensions": ["no_such_thing"]}
    right = {"name": "zzz", "owner": "zzz", "extensions": []}
    databases = [wrong, *facts["postgres"]["databases"], right]
    changed = {**facts, "postgres": {**facts["postgres"], "databases": databases}}
    try:
        primary.run("cat >/etc/bakehouse/server.json", stdin=json.dumps(changed))
        refused(primary, "systemctl restart bakehouse-databases")
        log = primary.run("journalctl -u bakehouse-databases -o cat -n 10 --no-pager").stdout
        assert (
            'all databases are as declared but aaa: Postgres refused: ERROR: extension "no_' in log
        )
    finally:
        primary.run("cat >/etc/bakehouse/server.json", stdin=json.dumps(facts))
        primary.run("systemctl restart bakehouse-databases")
    query = "SELECT datname FROM pg_database WHERE datname IN ('aaa', 'zzz') ORDER BY 1"
    assert primary.run(ADMIN, stdin=query).stdout == "aaa\nzzz\n"
    primary.run(ADMIN, stdin="DROP DATABASE aaa;")
    primary.run(ADMIN, stdin="DROP DATABASE zzz;")


def test_a_row_that_an_app_holds_keeps_nobody_waiting(primary: Machine) -> None:
    """What is right already is only looked at."""
    held = "BEGIN; ALTER DATABASE guestbook CONNECTION LIMIT 90; SELECT pg_sleep(60)"
    words = f"{ADMIN} -c 'SET ROLE guestbook' -c '{held}'"
    primary.run(f"systemd-run --quiet --collect --unit=holding {words}")
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    try:
        wait = f'until [ "$({ADMIN} -c "{sleeping}")" = 1 ]; do sleep 0.1; done'
        primary.run("timeout 30 sh -s", stdin=wait)
        primary.run("timeout 9 systemctl restart bakehouse-databases")
    finally:
        end = sleeping.replace("count(*)", "pg_terminate_backend(pid, 5000)")
        primary.run(ADMIN, stdin=end)


def test_a_login_that_no_server_made_is_refused(primary: Machine) -> None:
    """As root on the server that is replaced could send it."""
    before, environment = (primary.run(f"cat {path}").stdout for path in (STATE, ENVIRONMENT))
    wrong = json.loads(before)
    wrong["roles"]["guestbook"]["password"] = "x\nLD_PRELOAD=/data/x.so"
    try:
        primary.run(f"cat >{STATE}", stdin=json.dumps(wrong))
        refused(primary, "systemctl restart bakehouse-databases")
        log = primary.run("journalctl -u bakehouse-databases -o cat -n 10 --no-pager").stdout
        assert "the role 'guestbook' is no login that a server of ours made" in log
        assert primary.run(f"cat {ENVIRONMENT}").stdout == environment
    finally:
        primary.run(f"cat >{STATE}", stdin=before)
        primary.run("systemctl restart bakehouse-databases")


def test_an_extension_that_is_not_there_is_told(primary: Machine) -> None:
    facts = primary.run("cat /etc/bakehouse/server.json").stdout
    wrong = facts.replace('"extensions": []', '"extensions": ["no_such_thing"]')
    assert wrong != facts
    try:
        primary.run("cat >/etc/bakehouse/server.json", stdin=wrong)
        refused(primary, "systemctl restart bakehouse-databases")
        log = primary.run("journalctl -u bakehouse-databases -o cat -n 10 --no-pager").stdout
        assert 'extension "no_such_thing" is not available' in log
    finally:
        primary.run("cat >/etc/bakehouse/server.json", stdin=facts)
        primary.run("systemctl restart bakehouse-databases")


def test_a_reboot_changes_nothing(primary: Machine) -> None:
    ask(primary, "CREATE TABLE survivor (x int); INSERT INTO survivor VALUES (7);")
    identity = f"{ADMIN} -c 'SELECT system_identifier FROM pg_control_system()'"
    look = f"cat {STATE} {ENVIRONMENT}; stat -c '%y %n' {STATE}; {identity}"
    before = primary.run(look).stdout
    primary.reboot()
    primary.run(f"systemctl start {UNITS}")
    assert primary.run(look).stdout == before
    assert ask(primary, "SELECT x FROM survivor;") == "7"


def test_a_power_cut_loses_nothing_acknowledged(primary: Machine) -> None:
    ask(primary, "CREATE TABLE committed (x int); INSERT INTO committed VALUES (8);")
    primary.power_cut()
    for _ in range(100):  # the kernel takes the dead machine's link away in its own time
        if " vb-" not in primary.client(["ip", "-oneline", "link"]).stdout:
            break
        time.sleep(0.05)
    primary.start()
    primary.wait()
    primary.run(f"systemctl start {UNITS}")
    assert ask(primary, "SELECT x FROM committed;") == "8"


def test_lost_data_is_no_first_deployment(primary: Machine) -> None:
    """`may_init` stays in boot.json for good; a lost disk must still not start empty."""
    primary.run("systemctl stop postgresql@17-main bakehouse-cluster")
    primary.run("mv /data/postgres /data/away")
    try:
        refused(primary, "systemctl start bakehouse-cluster")
        log = primary.run("journalctl -u bakehouse-cluster -o cat -n 10 --no-pager").stdout
        assert "is gone: is /data mounted?" in log
        primary.run(f"test ! -e {CLUSTER}")
    finally:
        primary.run("rm -rf /data/postgres && mv /data/away /data/postgres")
        primary.run(f"systemctl start {UNITS}")
    assert ask(primary, "SELECT 1;") == "1"


def test_our_units_are_hardened(primary: Machine) -> None:
    """`systemd-analyze security` gives each an exposure of 3 or less ("OK" ends at 5)."""
    for unit in UNITS.split():
        shown = primary.run(f"systemd-analyze security --no-pager {unit}").stdout.splitlines()[-1]
        assert float(shown.split(":")[1].split()[0]) <= 3.0, shown


def test_a_primary_without_permission_makes_no_cluster(hobby: Describe) -> None:
    with lab() as place, booted(place, hobby("primary", False)) as machine:
        machine.run("systemctl is-system-running --wait", check=False)
        assert state_of(machine, "bakehouse-cluster") == "failed"
        log = machine.run("journalctl -u bakehouse-cluster -o cat --no-pager").stdout
        assert "this server may not make an empty one" in log
        assert state_of(machine, "postgresql@17-main") != "active"
        machine.run(f"test ! -e {CLUSTER} && test ! -e {STATE}")


def test_a_standby_waits_for_its_data(hobby: Describe) -> None:
    with lab() as place, booted(place, hobby("standby", False)) as machine:
        machine.run("systemctl is-system-running --wait", check=False)
        assert state_of(machine, "bakehouse-cluster") == "active"
        assert state_of(machine, "bakehouse-databases") == "active"
        assert state_of(machine, "pgbouncer") == "active"
        assert state_of(machine, "postgresql@17-main") == "inactive"
        machine.run(f"test ! -e {CLUSTER} && test ! -e {STATE} && test ! -e {ENVIRONMENT}")

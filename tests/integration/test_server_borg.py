"""Backups that are read back: over SSH with a key, locked, told to a monitor, and restored."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from images.lab import Lab, lab
from images.machine import Description, Machine, booted
from specs.plan import Role

pytestmark = pytest.mark.root

Describe = Callable[[Role, bool], Description]

ADMIN = "/usr/lib/postgresql/17/bin/psql -qAtX -v ON_ERROR_STOP=1 -h /run/postgresql -U postgres"
FACTS = "/etc/bakehouse/server.json"
SECRETS = "/run/bakehouse/secrets"
REPOSITORY = "ssh://deploy@127.0.0.1/home/deploy/backups"
BORG = "/usr/local/sbin/bakehouse-borg"
BACKUP = "/usr/bin/python3 -IB -m bakehouse.backup"
DUMPS = "/var/lib/bakehouse/dumps"
RESTORE = "/usr/bin/python3 -IB -m bakehouse.restore"
ANSWERS = "curl -sf -o /dev/null http://127.0.0.1/"
END_LOCK = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid();
"""

MONITOR = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("/run/pings", "a") as file: file.write(self.path + "\\n")
        self.send_response(200); self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", 8999), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Lab]:
    with lab() as found:
        yield found


@pytest.fixture(scope="module")
def primary(place: Lab, hobby: Describe) -> Iterator[Machine]:
    """A primary whose repository is its own account `deploy`, by SSH and a key."""
    with booted(place, hobby("primary", True)) as machine:
        machine.run("systemctl start bakehouse-databases pgbouncer")
        machine.run(f"ssh-keygen -q -t ed25519 -N '' -f {SECRETS}/borg_ssh_key")
        machine.run(
            f"cat {SECRETS}/borg_ssh_key.pub >>/etc/ssh/authorized_keys.d/deploy.boot;"
            f" printf 'a test passphrase' >{SECRETS}/borg_passphrase; chmod 0600 {SECRETS}/*"
        )
        machine.run("cat >/run/monitor.py", stdin=MONITOR)
        machine.run("systemd-run --quiet --unit=monitor python3 /run/monitor.py")
        monitor = "http://127.0.0.1:8999/ping/1?from=test"
        with spec_says(machine, repository=REPOSITORY, ping=monitor, paths=[]):
            yield machine


@contextmanager
def spec_says(machine: Machine, **borg: Any) -> Iterator[None]:
    """The server's facts with other values in the section `borg`."""
    before = machine.run(f"cat {FACTS}").stdout
    facts: dict[str, Any] = json.loads(before)
    facts["borg"].update(borg)
    machine.run(f"cat >{FACTS}", stdin=json.dumps(facts))
    try:
        yield
    finally:
        machine.run(f"cat >{FACTS}", stdin=before)


@contextmanager
def boot_says(machine: Machine, changes: Mapping[str, Any]) -> Iterator[None]:
    """Another role."""
    path = "/etc/bakehouse/boot.json"
    before = machine.run(f"cat {path}").stdout
    machine.run(f"cat >{path}", stdin=json.dumps({**json.loads(before), **changes}))
    try:
        yield
    finally:
        machine.run(f"cat >{path}", stdin=before)


def backup(machine: Machine, unit: str = "bakehouse-backup") -> str:
    """Run the unit and return what it said; it must succeed."""
    machine.run(f"systemctl start {unit}")
    return said(machine, unit)


def failing(machine: Machine) -> str:
    """Run the backup, which must fail, and return what it said."""
    done = machine.run("systemctl start bakehouse-backup", check=False)
    assert done.code != 0
    return said(machine, "bakehouse-backup")


def said(machine: Machine, unit: str) -> str:
    """What the unit's last run wrote to the journal."""
    run = machine.run(f"systemctl show --value -p InvocationID {unit}").stdout.strip()
    return machine.run(f"journalctl --no-pager -o cat _SYSTEMD_INVOCATION_ID={run}").stdout


def pings(machine: Machine) -> list[str]:
    """What the monitor heard since the last time."""
    return machine.run("touch /run/pings; cat /run/pings; rm /run/pings").stdout.split()


def archives(machine: Machine) -> list[str]:
    """The repository's archives, oldest first."""
    return machine.run(f"{BORG} list --short").stdout.split()


def contents(machine: Machine, archive: str) -> list[str]:
    """The paths in an archive."""
    return machine.run(f"{BORG} list --short ::{archive}").stdout.splitlines()


def test_a_backup_that_is_stopped_leaves_no_dumps_and_is_told_of(primary: Machine) -> None:
    """As a swap stops one; a lock keeps its dump from its end until then."""

    def recorded() -> bool:
        return bool(json.loads(primary.run("cat /data/state/backup.json").stdout)["ok"])

    primary.run(f"{ADMIN} guestbook", stdin="CREATE TABLE held ();")
    locking = "BEGIN; LOCK TABLE held; SELECT pg_sleep(120)"
    primary.run(f"systemd-run --quiet --unit=locking {ADMIN} guestbook -c '{locking}'")
    try:
        primary.run("systemctl start --no-block bakehouse-backup")
        primary.run(f"timeout 60 sh -c 'until test -e {DUMPS}/guestbook.dump; do sleep 0.1; done'")
        primary.run("systemctl stop bakehouse-backup")
        primary.run(f"test ! -e {DUMPS}")
        assert not recorded()
    finally:
        primary.run(f"{ADMIN} guestbook", stdin=f"{END_LOCK} DROP TABLE held;")
    backup(primary)
    assert recorded()
    pings(primary)


def test_a_backup_over_ssh_can_be_restored(primary: Machine) -> None:
    primary.run(
        "install -d /data/apps/guestbook/uploads && echo picture >/data/apps/guestbook/uploads/a"
    )
    primary.run(
        f"{ADMIN} guestbook",
        stdin="CREATE TABLE letters (t text); INSERT INTO letters VALUES ('dear');"
        " ALTER TABLE letters OWNER TO guestbook;",
    )
    pings(primary)
    backup(primary)
    assert pings(primary) == ["/ping/1/start?from=test", "/ping/1?from=test"]
    archive = archives(primary)[-1]
    paths = contents(primary, archive)
    assert "data/apps/guestbook/uploads/a" in paths
    assert "data/state/databases.json" in paths
    assert "var/lib/bakehouse/dumps/globals.sql" in paths
    assert not any(path.startswith("data/postgres") for path in paths)
    primary.run("test ! -e /var/lib/bakehouse/dumps")

    primary.run(f"{ADMIN} guestbook", stdin="DROP TABLE letters;")
    primary.run("rm -r /data/apps/guestbook/uploads")
    primary.run(f"cd / && {BORG} extract ::{archive} data/apps")
    place = "var/lib/bakehouse/dumps/guestbook.dump"
    restore = "pg_restore --clean --if-exists -h /run/postgresql -U postgres -d guestbook"
    primary.run(f"{BORG} extract --stdout ::{archive} {place} | {restore}")
    query = "SELECT t, tableowner FROM letters, pg_tables WHERE tablename = 'letters'"
    assert primary.run(f"{ADMIN} guestbook", stdin=query).stdout == "dear|guestbook\n"
    assert primary.run("cat /data/apps/guestbook/uploads/a").stdout == "picture\n"


def test_a_database_that_its_app_calls_a_template_is_dumped_and_restored(primary: Machine) -> None:
    """An app owns its database, and may set this of it; without a word it was in no backup."""
    rows = "CREATE TABLE hidden (n int); INSERT INTO hidden VALUES (7);"
    primary.run(f"{ADMIN} guestbook", stdin=f"{rows} ALTER TABLE hidden OWNER TO guestbook;")
    try:
        primary.run(
            f"{ADMIN} postgres",
            stdin="SET ROLE guestbook; ALTER DATABASE guestbook IS_TEMPLATE true;"
            " ALTER DATABASE guestbook SET local_preload_libraries = nowhere;"
            " ALTER DATABASE guestbook SET default_transaction_read_only = on;",
        )
        primary.run("systemctl restart bakehouse-databases")
        backup(primary)
    finally:
        primary.run(
            f"{ADMIN} postgres",
            stdin="ALTER DATABASE guestbook IS_TEMPLATE false; ALTER DATABASE guestbook RESET ALL;",
        )
    archive = archives(primary)[-1]
    primary.run(f"{ADMIN} guestbook", stdin="DROP TABLE hidden;")
    restore = "pg_restore --clean --if-exists -h /run/postgresql -U postgres -d guestbook"
    place = "var/lib/bakehouse/dumps/guestbook.dump"
    primary.run(f"{BORG} extract --stdout ::{archive} {place} | {restore}")
    query = "SELECT n, tableowner FROM hidden, pg_tables WHERE tablename = 'hidden'"
    assert primary.run(f"{ADMIN} guestbook", stdin=query).stdout == "7|guestbook\n"
    primary.run(f"{ADMIN} guestbook", stdin="DROP TABLE hidden;")
    pings(primary)


def test_a_database_that_is_not_there_is_missed_and_the_rest_is_safe(primary: Machine) -> None:
    """No whole archive is thinned out for one that lacks a database."""
    backup(primary)
    whole = archives(primary)
    facts = primary.run(f"cat {FACTS}").stdout
    changed = json.loads(facts)
    changed["postgres"]["databases"].append({"name": "no", "owner": "no", "extensions": []})
    pings(primary)
    try:
        primary.run(f"cat >{FACTS}", stdin=json.dumps(changed))
        told = failing(primary)
    finally:
        primary.run(f"cat >{FACTS}", stdin=facts)
    assert "a partial archive made, but without the database no: it is not there" in told
    assert pings(primary) == ["/ping/1/start?from=test", "/ping/1/fail?from=test"]
    assert not json.loads(primary.run("cat /data/state/backup.json").stdout)["ok"]
    *others, newest = archives(primary)
    assert others == whole
    assert newest.endswith("-partial")
    assert "var/lib/bakehouse/dumps/guestbook.dump" in contents(primary, newest)
    primary.run(f"{BORG} delete ::{newest}")
    backup(primary)
    pings(primary)


def test_a_lock_that_an_app_holds_costs_its_own_dump_alone(primary: Machine) -> None:
    """With less patience than ten minutes; the dump of before stays the newest whole one."""
    backup(primary)
    whole = archives(primary)
    primary.run(f"{ADMIN} guestbook", stdin="CREATE TABLE held ();")
    locking = "BEGIN; LOCK TABLE held; SELECT pg_sleep(120)"
    primary.run(f"systemd-run --quiet --collect --unit=locks {ADMIN} guestbook -c '{locking}'")
    program = (
        "import sys; from bakehouse import backup, dumps; dumps.PATIENCE = 2;"
        " sys.argv = ['backup', 'create']; backup.main()"
    )
    try:
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        wait = f'until [ "$({ADMIN} -c "{sleeping}")" = 1 ]; do sleep 0.1; done'
        primary.run("timeout 30 sh -s", stdin=wait)
        done = primary.run(f'/usr/bin/python3 -IB -c "{program}"', check=False)
        assert "without the database guestbook: pg_dump failed" in done.stderr
    finally:
        primary.run(f"{ADMIN} guestbook", stdin=f"{END_LOCK} DROP TABLE held;")
    *others, newest = archives(primary)
    assert others == whole
    names = contents(primary, newest)
    assert "var/lib/bakehouse/dumps/postgres.dump" in names
    assert "var/lib/bakehouse/dumps/guestbook.dump" not in names
    primary.run(f"{BORG} delete ::{newest}")
    pings(primary)


def test_a_new_server_begins_with_the_newest_backup(
    primary: Machine, place: Lab, hobby: Describe
) -> None:
    """Also with a role and a database that no spec names; an archive of another spec is newer."""
    shop = "INSERT INTO kept SELECT generate_series(1, 1000)"
    primary.run(
        f"{ADMIN} guestbook",
        stdin=f"CREATE TABLE kept (n int); {shop}; ALTER TABLE kept OWNER TO guestbook;"
        " CREATE ROLE reader; CREATE DATABASE ledger OWNER reader;",
    )
    primary.run(f"{ADMIN} ledger", stdin="CREATE TABLE old (n int); INSERT INTO old VALUES (7);")
    primary.run("install -d /data/apps/guestbook && echo picture >/data/apps/guestbook/kept")
    backup(primary)
    pings(primary)
    last, passwords = archives(primary)[-1], "sha256sum </data/state/databases.json"
    primary.run(f"{BORG} create ::hobby-staging-2099-01-01T00:00:00 /etc/hostname")
    known = primary.run(passwords).stdout

    with booted(place, replace(hobby("primary", True), number=2)) as new:
        new.run("systemctl start bakehouse-databases pgbouncer")
        for name in ("borg_ssh_key", "borg_passphrase"):
            text = primary.run(f"cat {SECRETS}/{name}").stdout
            new.run(f"umask 077 && cat >{SECRETS}/{name}", stdin=text)
        there = REPOSITORY.replace("127.0.0.1", primary.address.v4)
        assert new.run(passwords).stdout != known
        with spec_says(new, repository=there, ping="", paths=[]):
            told = new.run(RESTORE).stdout
            assert json.loads(told.splitlines()[-1]) == {"archive": last, "databases": 3}
            assert is_there(new)
            new.run(f"{ADMIN} guestbook", stdin="DELETE FROM kept;")
            new.run(RESTORE)
            assert is_there(new)
        assert new.run(passwords).stdout == known
        new.run("systemctl is-active bakehouse-backup.timer bakehouse-app@guestbook caddy")
        new.run(f"timeout 60 sh -c 'until {ANSWERS}; do sleep 0.5; done'")
        new.run("mkdir -p /var/lib/bakehouse && echo '{}' >/var/lib/bakehouse/role.json")
        assert "not a new one" in new.run(RESTORE, check=False).stderr
    primary.run(f"{BORG} delete ::hobby-staging-2099-01-01T00:00:00")
    primary.run(f"{ADMIN} guestbook", stdin="DROP TABLE kept; DROP DATABASE ledger;")


def is_there(machine: Machine) -> bool:
    """What the backup has: rows with their owners, files."""
    query = "SELECT count(*), tableowner FROM kept, pg_tables WHERE tablename = 'kept' GROUP BY 2"
    rows = machine.run(f"{ADMIN} guestbook", stdin=query).stdout
    old = machine.run(f"{ADMIN} ledger", stdin="SELECT n FROM old").stdout
    file = machine.run("cat /data/apps/guestbook/kept").stdout
    return (rows, old, file) == ("1000|guestbook\n", "7\n", "picture\n")


def test_the_repository_is_encrypted_and_its_host_remembered(primary: Machine) -> None:
    backup(primary)
    assert "Encrypted: Yes (repokey BLAKE2b)" in primary.run(f"{BORG} info").stdout
    assert primary.run("wc -l </data/state/borg/known_hosts").stdout.strip() != "0"
    assert primary.run("cat /data/state/borg/security/*/*/nonce").stdout.strip()
    primary.run("! grep -r 'a test passphrase' /var/lib/bakehouse /data/state /etc/bakehouse")


def test_a_check_passes(primary: Machine) -> None:
    backup(primary)
    backup(primary, "bakehouse-backup-check")


def test_damage_is_found_and_told(primary: Machine) -> None:
    backup(primary)
    primary.run("cp -a /home/deploy/backups /home/deploy/whole")
    segment = "$(ls -S -d /home/deploy/backups/data/0/* | head -n 1)"
    primary.run(f"printf damaged | dd of={segment} bs=1 seek=600 conv=notrunc status=none")
    pings(primary)
    try:
        assert primary.run("systemctl start bakehouse-backup-check", check=False).code != 0
        assert pings(primary) == ["/ping/1/fail?from=test"]
    finally:
        primary.run("rm -rf /home/deploy/backups && mv /home/deploy/whole /home/deploy/backups")
    assert "the last check of the repository failed: borg check ended" in backup(primary)
    assert pings(primary) == ["/ping/1/start?from=test", "/ping/1/fail?from=test"]
    told = "import json; from bakehouse import preflight; print(json.dumps(preflight.plain()))"
    facts = json.loads(primary.run(f"python3 -IB -c '{told}'").stdout)
    assert (facts["backup"]["ok"], facts["check"]["ok"]) == (True, False)
    backup(primary, "bakehouse-backup-check")
    assert pings(primary) == []
    backup(primary)
    assert pings(primary) == ["/ping/1/start?from=test", "/ping/1?from=test"]


def test_a_repository_that_vanished_is_missed_and_not_made_anew(primary: Machine) -> None:
    """As on a backup host that started without its disk."""
    backup(primary)
    before = archives(primary)
    primary.run("mv /home/deploy/backups /home/deploy/away")
    pings(primary)
    try:
        assert f"the repository {REPOSITORY} that had backups until 2" in failing(primary)
        assert pings(primary)[-1] == "/ping/1/fail?from=test"
        primary.run("test ! -e /home/deploy/backups")
        assert not json.loads(primary.run("cat /data/state/backup.json").stdout)["ok"]
        primary.run("mv /data/state/borg/repositories.json /run/away")
        backup(primary)
        assert archives(primary) != before
        primary.run("mv /run/away /data/state/borg/repositories.json")
    finally:
        primary.run("rm -rf /home/deploy/backups; mv /home/deploy/away /home/deploy/backups")
    assert archives(primary) == before
    backup(primary)
    pings(primary)


def test_two_backups_at_once_take_turns(primary: Machine) -> None:
    before = archives(primary)
    start = "systemctl start --no-block bakehouse-backup"
    primary.run(f"{start}; {BACKUP} create --repository /var/tmp/second")
    primary.run("systemctl start bakehouse-backup")
    assert len(set(archives(primary)) | set(before)) > len(before) - 1
    assert archives(primary)[-1] not in before
    primary.run("rm -r /var/tmp/second")


def test_a_missing_passphrase_is_told(primary: Machine) -> None:
    primary.run(f"mv {SECRETS}/borg_passphrase /run/away")
    pings(primary)
    try:
        assert f"put it into {SECRETS}/borg_passphrase" in failing(primary)
        assert pings(primary)[-1] == "/ping/1/fail?from=test"
    finally:
        primary.run(f"mv /run/away {SECRETS}/borg_passphrase")


def test_a_wrong_passphrase_makes_no_new_repository(primary: Machine) -> None:
    backup(primary)
    primary.run(f"cp -p {SECRETS}/borg_passphrase /run/away; echo no >{SECRETS}/borg_passphrase")
    try:
        assert "cannot open" in failing(primary)
    finally:
        primary.run(f"mv /run/away {SECRETS}/borg_passphrase")
    assert archives(primary)


def test_a_missing_path_fails_but_the_rest_is_safe(primary: Machine) -> None:
    before = archives(primary)
    with spec_says(primary, paths=["/srv/nowhere", "/etc/hostname"]):
        assert "without what is not there: /srv/nowhere" in failing(primary)
    newest = archives(primary)[-1]
    assert newest not in before
    assert "etc/hostname" in contents(primary, newest)


def test_a_monitor_that_is_away_fails_nothing(primary: Machine) -> None:
    with spec_says(primary, ping="http://127.0.0.1:1/gone"):
        assert "the monitor did not answer" in backup(primary)


def test_postgres_away_is_a_failure_and_no_empty_backup(primary: Machine) -> None:
    before = archives(primary)
    primary.run("systemctl stop postgresql@17-main")
    pings(primary)
    try:
        assert "Postgres refused" in failing(primary)
        assert pings(primary) == ["/ping/1/fail?from=test"]
    finally:
        primary.run("systemctl start postgresql@17-main")
    assert archives(primary) == before


def test_dumps_that_would_fill_the_disk_end_in_time(primary: Machine) -> None:
    """0.4 GiB of rows, and a disk where no more than 0.2 may be dumped."""
    before, folder = archives(primary), "/var/lib/bakehouse"
    rows = "SELECT repeat(md5(i::text), 30) AS t FROM generate_series(1, 420000) i"
    primary.run(f"{ADMIN} guestbook", stdin=f"CREATE TABLE large AS {rows};")
    primary.run(
        "mkdir /run/small && mount -t tmpfs -o size=1240M small /run/small"
        f" && cp -a {folder}/. /run/small && mount --bind /run/small {folder}"
    )
    try:
        told = failing(primary)
        assert "no room to dump the databases, which have 0.4 GiB" in told
        assert re.search(r"with 0\.[23] GiB of dumps, now removed", told)
        primary.run(f"test ! -e {DUMPS}")
    finally:
        primary.run(f"umount {folder} /run/small && rmdir /run/small")
        primary.run(f"{ADMIN} guestbook", stdin="DROP TABLE large;")
    assert archives(primary) == before
    backup(primary)
    pings(primary)


def test_other_roles_back_up_only_when_told_where(primary: Machine) -> None:
    before = archives(primary)
    pings(primary)
    with boot_says(primary, {"role": "throwaway"}):
        assert "nothing to do" in backup(primary)
        assert pings(primary) == []
        primary.run(f"{BACKUP} create --repository /var/tmp/told")
    assert archives(primary) == before
    listed = primary.run(f"BORG_REPO= {BORG} list --short /var/tmp/told").stdout.split()
    assert len(listed) == 1
    primary.run("rm -r /var/tmp/told")


def test_a_killed_backup_leaves_no_lock(primary: Machine) -> None:
    primary.run(f"{ADMIN} guestbook", stdin="CREATE TABLE large AS SELECT generate_series(1, 1e6);")
    for tenths in (5, 15, 25):
        start = "systemctl start --no-block bakehouse-backup"
        kill = "systemctl kill --signal=KILL bakehouse-backup"
        primary.run(f"{start}; sleep {tenths / 10}; {kill}; systemctl reset-failed; true")
        primary.run("while systemctl is-active -q bakehouse-backup; do sleep 0.1; done")
    backup(primary)
    backup(primary, "bakehouse-backup-check")
    primary.run("test ! -e /var/lib/bakehouse/dumps")


def test_what_cannot_be_read_is_a_failure(primary: Machine) -> None:
    """/proc/1/mem exists, is a file, and gives an I/O error to every reader."""
    with spec_says(primary, paths=["/proc/1/mem"]):
        assert "borg create ended with code" in failing(primary)


def test_the_timers_wait(primary: Machine) -> None:
    for timer in ("bakehouse-backup.timer", "bakehouse-backup-check.timer"):
        shown = primary.run(f"systemctl show --value -p NextElapseUSecRealtime {timer}").stdout
        assert shown.strip(), timer
    shown = primary.run("systemd-analyze security --no-pager bakehouse-backup").stdout
    level = shown.splitlines()[-1].partition("bakehouse-backup.service:")[2].split()[0]
    assert float(level) <= 3.0, shown

"""Makes roles and databases as declared, and hands each app its DATABASE_URL.

Runs after Postgres and before the pooler and the apps, at every boot and after a promote. Nothing
is ever dropped. A password lives in three places only: root's state, which moves with the data;
the app's environment; and, as a SCRAM verifier, the pooler's list. Postgres has none: it knows the
pooler by its system account.
"""

from __future__ import annotations

import base64
import grp
import hashlib
import hmac
import json
import re
import secrets
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from . import pooling, state
from .state import ProgramError

PASSWORDS: Final = state.STATE / "databases.json"
POOLER: Final = state.RUN / "pooler"
APPS: Final = state.RUN / "apps"
ADDRESS: Final = "10.88.88.1:6432"
AGAIN: Final = "systemctl restart bakehouse-databases"
ITERATIONS: Final = 4096
"""PostgreSQL's default `scram_iterations`; a password of 256 random bits needs no more."""

_PASSWORD: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER: Final = re.compile(
    rf"SCRAM-SHA-256\${ITERATIONS}:[A-Za-z0-9+/]{{22}}==\$[A-Za-z0-9+/]{{43}}=:[A-Za-z0-9+/]{{43}}="
)


@dataclass(frozen=True, slots=True)
class Login:
    """A role's password, and the verifier that proves it without telling it (RFC 5802)."""

    password: str
    verifier: str


def main() -> None:
    """Passwords first, then the files made from them, then Postgres: a kill anywhere is mended."""
    facts = state.server()
    postgres = facts["postgres"]
    version = int(postgres["version"])
    logins = known_logins()
    writable = may_write() and state.accepts_writes(version, state.role())
    if writable:
        logins = with_missing(logins, (database["owner"] for database in postgres["databases"]))
        state.folder(state.STATE, 0o700)
        state.write(PASSWORDS, dump(logins))
    publish(facts["apps"], postgres["databases"], logins)
    pooling.write(pooling.wanted())
    reload_pooler()
    if writable:
        state.psql(version, common_script(facts["data"]["strategy"] == "replica"))
        make(version, postgres["databases"])


def make(version: int, databases: Sequence[Mapping[str, Any]]) -> None:
    """Each database as declared. One that cannot be made so keeps no other from it.

    Raises ProgramError in the end with what is wrong with each.
    """
    failed = []
    for database in databases:
        try:
            state.psql(version, script(database))
        except ProgramError as error:
            failed.append(f"{database['name']}: {error}")
    if failed:
        raise ProgramError(
            f"all databases are as declared but {'; '.join(failed)}; once that is mended: {AGAIN}"
        )


def may_write() -> bool:
    """Whether Postgres here may be asked at all: one that waits for its peer's word is down."""
    return state.recorded() in ("", "serving", "restored", "claimed")


def known_logins() -> dict[str, Login]:
    """The logins in the state that moves with the data: another server may have written it.

    Raises ProgramError when one is not as `new_login` makes them: it goes into files as it is.
    """
    if not PASSWORDS.exists():
        return {}
    try:
        roles = dict(state.read_json(PASSWORDS)["roles"])
    except (KeyError, TypeError, ValueError):
        raise ProgramError(
            f"{PASSWORDS} holds no roles; restore it from a backup, or remove it for new passwords,"
            f" then: {AGAIN} 'bakehouse-app@*'"
        ) from None
    return {role: known_login(role, found) for role, found in roles.items()}


def known_login(role: str, found: Any) -> Login:
    """A role's login as it was read. Raises ProgramError unless it is one of ours."""
    try:
        login = Login(**found)
        ours = _PASSWORD.fullmatch(login.password) and _VERIFIER.fullmatch(login.verifier)
    except TypeError:
        ours = None
    if not ours:
        raise ProgramError(
            f"{PASSWORDS}: what it holds for the role {role!r} is no login that a server of ours"
            " made; find out who wrote it, remove that role from it, and a new password is made by:"
            f" {AGAIN} 'bakehouse-app@*'"
        )
    return login


def with_missing(known: Mapping[str, Login], roles: Iterable[str]) -> dict[str, Login]:
    """`known` and a new login for each role that has none."""
    return {**{role: new_login() for role in roles if role not in known}, **known}


def new_login() -> Login:
    """A random password of 32 bytes, safe in a URL."""
    password = secrets.token_urlsafe(32)
    return Login(password, verifier(password, secrets.token_bytes(16)))


def verifier(password: str, salt: bytes) -> str:
    """The SCRAM-SHA-256 verifier of an ASCII password as PostgreSQL writes it (RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    words = [base64.b64encode(b).decode() for b in (salt, hashlib.sha256(client).digest(), server)]
    return f"SCRAM-SHA-256${ITERATIONS}:{words[0]}${words[1]}:{words[2]}"


def dump(logins: Mapping[str, Login]) -> str:
    """The state file's text."""
    roles = {
        role: {"password": login.password, "verifier": login.verifier}
        for role, login in logins.items()
    }
    return json.dumps({"format": 1, "roles": roles}, indent=1, sort_keys=True) + "\n"


def publish(
    apps: Sequence[Mapping[str, Any]],
    databases: Sequence[Mapping[str, Any]],
    logins: Mapping[str, Login],
) -> None:
    """Write the pooler's list of users, and the environment of each app whose login is known."""
    pooler = grp.getgrnam("pgbouncer").gr_gid
    state.folder(state.RUN, 0o755)
    state.folder(POOLER, 0o750, 0, pooler)
    owners = {database["name"]: database["owner"] for database in databases}
    used = {role: logins[role] for role in owners.values() if role in logins}
    state.write(POOLER / "userlist.txt", userlist(used), mode=0o640, gid=pooler)
    state.folder(APPS, 0o700)
    for app in apps:
        owner = owners.get(app["database"], "")
        if owner in logins:
            url = database_url(app["database"], owner, logins[owner].password)
            state.write(APPS / f"{app['name']}.env", f"DATABASE_URL={url}\n")


def reload_pooler() -> None:
    """A pooler that runs reads its list again; at boot it does not run yet."""
    command = ["systemctl", "--no-block", "try-reload-or-restart", "pgbouncer.service"]
    subprocess.run(command, check=True)


def userlist(logins: Mapping[str, Login]) -> str:
    """PgBouncer's `auth_file`.

    Its console knows `pgbouncer` by the system account alone, yet wants the name listed.
    """
    return '"pgbouncer" ""\n' + "".join(
        f"{quoted(role)} {quoted(login.verifier)}\n" for role, login in sorted(logins.items())
    )


def database_url(database: str, role: str, password: str) -> str:
    """Where a container finds the database: the pooler's address, never Postgres itself.

    The pooler is on the same host and speaks no TLS. libpq would try TLS and go on without; some
    drivers, such as Go's lib/pq, insist on it unless told otherwise.
    """
    login = f"{quote(role, safe='')}:{password}"
    return f"postgresql://{login}@{ADDRESS}/{quote(database, safe='')}?sslmode=disable"


def quoted(name: str) -> str:
    """The name quoted for PgBouncer's list, which quotes as SQL does."""
    return '"' + name.replace('"', '""') + '"'


ROLE_SQL: Final = r"""
SELECT format('CREATE ROLE %I', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'owner') \gexec
SELECT format('ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION'
  ' NOBYPASSRLS PASSWORD NULL', rolname)
FROM pg_authid WHERE rolname = :'owner' AND (NOT rolcanlogin OR rolsuper OR rolcreatedb
  OR rolcreaterole OR rolreplication OR rolbypassrls OR rolpassword IS NOT NULL) \gexec
"""

DATABASE_SQL: Final = r"""
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
SELECT format('ALTER DATABASE %I OWNER TO %I', datname, :'owner') FROM pg_database
WHERE datname = :'database' AND pg_get_userbyid(datdba) <> :'owner' \gexec
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM pg_database
WHERE datname = :'database' AND NOT datallowconn \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM pg_database
WHERE datname = :'database' AND EXISTS (
  SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) WHERE grantee = 0) \gexec
\connect :"database"
SELECT 'REVOKE CREATE ON SCHEMA public FROM PUBLIC' FROM pg_namespace
WHERE nspname = 'public' AND EXISTS (
  SELECT FROM aclexplode(nspacl) WHERE grantee = 0 AND privilege_type = 'CREATE') \gexec
"""
"""What is right already is only looked at: its owner, an app, may hold any of it in a transaction
that it keeps open, and what waits for that would keep a promote waiting."""

EXTENSION_SQL: Final = r"""
SELECT 'SET search_path TO public', format('CREATE EXTENSION %I CASCADE', :'extension'),
  'RESET search_path'
WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = :'extension') \gexec
"""


REPLICATOR_SQL: Final = """
SELECT 'CREATE ROLE replicator'
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'replicator') \\gexec
ALTER ROLE replicator LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS
  PASSWORD NULL;
"""


def common_script(replica: bool) -> str:
    """What is no app's own, for psql: the administrator's databases, and the role of a standby."""
    script = "REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;\n"
    return script + (REPLICATOR_SQL if replica else "")


def script(database: Mapping[str, Any]) -> str:
    """What makes psql make what is missing of one database, and put rights back; running it again
    is safe.

    Names go in as psql's variables, which psql itself quotes as literals and as identifiers.
    """
    parts = [variable("owner", database["owner"]), ROLE_SQL]
    parts += [variable("database", database["name"]), DATABASE_SQL]
    for extension in database["extensions"]:
        parts += [variable("extension", extension), EXTENSION_SQL]
    return "".join(parts)


def variable(name: str, value: str) -> str:
    """A psql variable set to any text (psql documentation, "Meta-Commands")."""
    text = value.replace("\\", "\\\\").replace("'", "''")
    return f"\\set {name} '{text}'\n"


if __name__ == "__main__":
    state.run_program(main)

"""Passwords, their verifiers, and the text that psql and PgBouncer read."""

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path
from typing import Any

import pytest

from images.server import databases, state
from images.server.databases import Login
from images.server.state import ProgramError

GUESTBOOK = {"name": "guestbook", "owner": "keeper", "extensions": ["pg_trgm"]}


def test_verifier_proves_the_password_as_a_server_checks_it() -> None:
    """The check of RFC 5802, 3: ClientProof XOR ClientSignature hashes to StoredKey."""
    found = databases.verifier("pencil", b"sixteen bytes ok")
    match = re.fullmatch(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)", found)
    assert match
    count, salt, stored, server = match.groups()
    assert (int(count), base64.b64decode(salt)) == (4096, b"sixteen bytes ok")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", b"sixteen bytes ok", 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(base64.b64decode(stored), b"message", "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    back = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(back).digest() == base64.b64decode(stored)
    assert hmac.digest(salted, b"Server Key", "sha256") == base64.b64decode(server)


def test_verifier_of_the_rfc() -> None:
    """The example of RFC 7677, 3: its client proof fits our stored key."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    stored, _, server = (
        databases.verifier("pencil", salt).partition("$")[2].partition("$")[2].partition(":")
    )
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,"
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.digest(base64.b64decode(stored), message, "sha256")
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == base64.b64decode(stored)
    answer = base64.b64encode(hmac.digest(base64.b64decode(server), message, "sha256"))
    assert answer == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_known_login_is_kept_and_a_missing_one_made() -> None:
    known = {"keeper": Login("old", "verifier")}
    found = databases.with_missing(known, ["keeper", "other", "other"])
    assert found["keeper"] == Login("old", "verifier")
    assert set(found) == {"keeper", "other"}
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", found["other"].password)


def test_the_state_reads_back_as_it_was_written() -> None:
    logins = {"keeper": Login("secret", "verifier")}
    data = json.loads(databases.dump(logins))
    assert {role: Login(**login) for role, login in data["roles"].items()} == logins


def read_back(path: Path, patch: pytest.MonkeyPatch, roles: object) -> dict[str, Login]:
    """The logins of a state file that holds `roles`."""
    patch.setattr(databases, "PASSWORDS", path / "databases.json")
    databases.PASSWORDS.write_text(json.dumps({"format": 1, "roles": roles}))
    return databases.known_logins()


def test_a_login_that_we_made_is_known_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(50):
        made = {"keeper": databases.new_login()}
        roles = json.loads(databases.dump(made))["roles"]
        assert read_back(tmp_path, monkeypatch, roles) == made


GOOD = databases.new_login()


@pytest.mark.parametrize(
    "changes",
    [
        {"password": f"{GOOD.password[:-1]}\n"},
        {"password": f"{GOOD.password}\nLD_PRELOAD=/data/apps/shop/uploads/x.so"},
        {"password": f"{GOOD.password[:-1]}@"},
        {"password": GOOD.password[:-1]},
        {"password": 7},
        {"verifier": f"{GOOD.verifier}\n"},
        {"verifier": f'{GOOD.verifier}"\n"pgbouncer" "'},
        {"verifier": GOOD.verifier.replace("$4096:", "$1:")},
        {"verifier": "md5" + "0" * 32},
        {"verifier": None},
        {"more": "x"},
    ],
)
def test_a_login_that_we_did_not_make_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    """Another server wrote the file; what is in it goes into the environment of every container."""
    login = {"password": GOOD.password, "verifier": GOOD.verifier, **changes}
    with pytest.raises(ProgramError, match=r"'keeper' is no login .* systemctl restart") as told:
        read_back(tmp_path, monkeypatch, {"keeper": login})
    assert GOOD.password[:-1] not in str(told.value)


@pytest.mark.parametrize("roles", [None, "x", ["keeper"], {"keeper": "x"}])
def test_a_state_of_another_shape_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, roles: object
) -> None:
    with pytest.raises(ProgramError, match="systemctl restart bakehouse-databases"):
        read_back(tmp_path, monkeypatch, roles)


def test_userlist_holds_verifiers_and_no_password() -> None:
    text = databases.userlist({"b": Login("pw1", "SCRAM-1"), 'a"b': Login("pw2", "SCRAM-2")})
    assert text == '"pgbouncer" ""\n"a""b" "SCRAM-2"\n"b" "SCRAM-1"\n'


def test_database_url() -> None:
    url = databases.database_url("guestbook", "keeper", "secret")
    assert url == "postgresql://keeper:secret@10.88.88.1:6432/guestbook?sslmode=disable"


def test_script_connects_before_it_makes_extensions() -> None:
    lines = databases.script(GUESTBOOK).splitlines()
    assert lines.index('\\connect :"database"') < lines.index("\\set extension 'pg_trgm'")
    assert lines.index("\\set owner 'keeper'") < lines.index("\\set database 'guestbook'")


def test_script_drops_nothing() -> None:
    assert "DROP" not in databases.script(GUESTBOOK) + databases.common_script(True)


def test_what_is_right_already_is_not_touched() -> None:
    """Its owner may keep a row of it locked, and a promote would wait for that."""
    for line in databases.script(GUESTBOOK).splitlines():
        assert not line.startswith(("ALTER", "REVOKE", "CREATE"))


def test_a_database_that_fails_keeps_no_other_from_being_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def psql(version: int, sql: str) -> str:
        (name,) = (word for word in ("one", "two", "three") if f"database '{word}'" in sql)
        if name != "three":
            raise ProgramError(f"Postgres refused: no {name}")
        made.append(name)
        return ""

    monkeypatch.setattr(state, "psql", psql)
    wanted: list[dict[str, Any]] = [
        {"name": x, "owner": "o", "extensions": []} for x in ("one", "two", "three")
    ]
    why = r"but one: Postgres refused: no one; two: Postgres refused: no two; .* systemctl restart"
    with pytest.raises(ProgramError, match=why):
        databases.make(17, wanted)
    assert made == ["three"]
    databases.make(17, wanted[2:])


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", "\\set x 'plain'\n"),
        ("it's", "\\set x 'it''s'\n"),
        ("back\\slash", "\\set x 'back\\\\slash'\n"),
    ],
)
def test_variable_quotes_as_psql_reads(value: str, line: str) -> None:
    assert databases.variable("x", value) == line

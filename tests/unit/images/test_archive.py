"""What apt says, what Debian's versions mean, which keys are believed, and what a lock keeps."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from images.archive import indexes, keys, resolve, scope
from images.archive.cache import cached, is_whole
from images.archive.fetch import GONE, OTHER, UNREACHABLE, Places, reason
from images.archive.make import kept_numbers
from images.archive.sources import Source
from images.archive.versions import Relation, compare, groups
from images.home import Home
from specs.errors import BakehouseError, UsageError
from specs.lock import Lock, LockedPackage
from specs.model import Spec, User

SOURCES = (
    Source("debian", "http://mirror.test/debian", "trixie", ("main",), b""),
    Source("debian-security", "http://mirror.test/debian-security", "trixie-security", (), b""),
)
TOOL = LockedPackage("tool", "1:1.0+b1", "all", "debian", "pool/t/tool_1.0+b1~x.deb", "0" * 64, 5)


# --- what apt prints


def package(line: str) -> LockedPackage:
    match = resolve.LINE.match(line)
    assert match
    return resolve._package(match, SOURCES, {"tool": TOOL})


def test_a_line_of_apt_becomes_a_package() -> None:
    sha = "ab" * 32
    assert package(
        "'http://mirror.test/debian-security/pool/u/z/zlib1g_1.3%2b1_amd64.deb' "
        f"zlib1g_1%3a1.3+1_amd64.deb 88720 SHA256:{sha}"
    ) == LockedPackage(
        name="zlib1g",
        version="1:1.3+1",
        architecture="amd64",
        archive="debian-security",
        path="pool/u/z/zlib1g_1.3+1_amd64.deb",
        sha256=sha,
        size=88720,
    )


def test_a_package_of_no_archive_is_the_one_that_was_locked() -> None:
    line = f"'copy:/work/kept/./x.deb' tool_1%3a1.0+b1_all.deb 5 SHA256:{'0' * 64}"
    assert package(line) == TOOL


def test_lines_without_a_sha256_are_no_packages() -> None:
    assert not resolve.LINE.match("'http://a/b.deb' b.deb 1 MD5Sum:" + "a" * 32)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("E: Release file for {} is expired (invalid since 1d).", "the index has expired"),
        ("E: Release file for {} is not valid yet (invalid for 1d).", "is from the future"),
        ("W: GPG error: {} verified: NO_PUBKEY 12AB\nE: {} is not signed.", "does not trust"),
        ("W: OpenPGP signature verification failed: {} Missing key 12AB", "does not trust"),
        ("W: GPG error: {} signatures were invalid: BADSIG 12AB", "signature of the index is not"),
        ("W: OpenPGP signature verification failed: {}: manipulated", "index is not valid"),
        ("E: Failed to fetch {}  Clearsigned file isn't valid, got 'NOSPLIT'", "not an index"),
        ("E: Failed to fetch {}  Hash Sum mismatch", "is not the one that was signed"),
        ("E: Failed to fetch {}  404  Not Found [IP: 1.2.3.4]", "there is no such suite"),
        ("E: The repository '{} Release' is not signed.", "the index is not signed"),
        ("W: Failed to fetch {}  Could not resolve 'mirror.test'", "cannot be reached"),
        ("E: Failed to fetch {}  503  Service Unavailable", "cannot be reached"),
        ("E: Failed to fetch {}  a new kind of trouble", "a new kind of trouble"),
    ],
)
@pytest.mark.parametrize(
    "place",
    [
        "http://mirror.test/debian trixie InRelease",
        "http://mirror.test/debian/dists/trixie/InRelease",
    ],
)
def test_what_apt_says_of_an_index_names_its_archive_reason_and_next_step(
    said: str, reason: str, place: str
) -> None:
    error = indexes._explained(said.replace("{}", place), SOURCES)
    assert error.message.startswith("debian trixie (http://mirror.test/debian): ")
    assert reason in error.message
    assert "debian-security" not in error.message
    assert error.hint


def test_words_about_no_archive_are_passed_on_whole() -> None:
    error = indexes._explained("E: Could not get lock", SOURCES)
    assert error.message.endswith("\nE: Could not get lock")


@pytest.mark.parametrize(
    ("why", "expected"),
    [
        ("404  Not Found [IP: 1.2.3.4 80]", GONE),
        ("410  Gone", GONE),
        ("Hash Sum mismatch", OTHER),
        ("File has unexpected size (1 != 2). Mirror sync in progress?", OTHER),
        ("Could not resolve 'a.test'", UNREACHABLE),
        ("Unable to connect to a.test:80:", UNREACHABLE),
        ("503  Service Unavailable", "503  Service Unavailable"),
    ],
)
def test_why_a_package_did_not_come(why: str, expected: str) -> None:
    said = f"E: Failed to fetch http://a.test/b  404  No\nE: Failed to fetch http://a.test/c  {why}"
    assert reason(said, "http://a.test/c") == expected
    assert reason("", "http://a.test/c") == "it did not arrive whole"


def test_addresses_are_quoted_and_snapshots_dated() -> None:
    pattern = "http://s.test/{archive}/{date}/{path}?{sha256}"
    places = Places({"debian": "http://m.test/debian"}, pattern, 1_700_000_000)
    odd = LockedPackage("a", "1", "all", "debian", "pool/a b+c~d%.deb", "f" * 64, 1)
    assert places.archive_url(odd) == "http://m.test/debian/pool/a%20b+c~d%25.deb"
    assert places.snapshot_url(odd) == (
        f"http://s.test/debian/20231114T221320Z/pool/a%20b+c~d%25.deb?{'f' * 64}"
    )


# --- versions and relations


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0", "1.1"),
        ("1.9", "1.10"),
        ("1.0~rc1", "1.0"),
        ("1.0~~", "1.0~"),
        ("1.0", "1.0a"),
        ("1.0a", "1.0+"),
        ("1.0-1", "1.0-1+deb13u1"),
        ("1.0-1", "1.0-1.1"),
        ("2.0", "1:1.0"),
        ("1.0-9", "1.0-10"),
        ("1.0", "1.0-1"),
        ("5.2.37-2", "5.2.37-2+b10"),
        ("1.2-3-1", "1.2-3-2"),
    ],
)
def test_older_versions_come_first(older: str, newer: str) -> None:
    assert compare(older, newer) < 0
    assert compare(newer, older) > 0


@pytest.mark.parametrize(("one", "other"), [("1.0", "1.0"), ("0:1.0", "1.0"), ("1.00", "1.0")])
def test_versions_may_be_the_same_in_other_words(one: str, other: str) -> None:
    assert compare(one, other) == 0


@pytest.mark.parametrize(
    ("how", "met"),
    [
        ("", [True, True, True]),
        ("<<", [True, False, False]),
        ("<=", [True, True, False]),
        ("=", [False, True, False]),
        (">=", [False, True, True]),
        (">>", [False, False, True]),
    ],
)
def test_relations_ask_for_versions(how: str, met: list[bool]) -> None:
    assert [Relation("a", how, "2").met_by(version) for version in ("1", "2", "3")] == met


def test_relations_are_read_in_groups() -> None:
    stanza = {"Depends": "libc6 (>= 2.38), python3:any | python3.13 (= 1), debconf (<<2~)"}
    assert groups(stanza, "Pre-Depends", "Depends") == (
        (Relation("libc6", ">=", "2.38"),),
        (Relation("python3"), Relation("python3.13", "=", "1")),
        (Relation("debconf", "<<", "2~"),),
    )


def test_stanzas_keep_the_first_line_of_a_field() -> None:
    text = "Package: a\nVersion: 1\nDescription: one\n two\n\n\nPackage: no-version\n"
    assert list(scope.stanzas(text)) == [{"Package": "a", "Version": "1", "Description": "one"}]


def stanza(name: str, version: str, **fields: str) -> dict[str, str]:
    return {"Package": name, "Version": version, **fields}


@pytest.mark.parametrize(
    ("chosen", "also"),
    [
        ([stanza("a", "2"), stanza("b", "1")], set()),
        ([stanza("a", "2", Depends="b (>= 1)"), stanza("b", "1")], set()),
        ([stanza("a", "2", Depends="b (>= 2)"), stanza("b", "1")], {"b"}),
        ([stanza("a", "2", Depends="b (>= 2) | c"), stanza("b", "1"), stanza("c", "1")], set()),
        ([stanza("a", "2", Depends="x"), stanza("b", "1", Provides="x")], set()),
        ([stanza("a", "2"), stanza("b", "1", Depends="a (= 1)")], {"b"}),
        ([stanza("a", "2"), stanza("b", "1", Depends="c (= 9)"), stanza("c", "1")], set()),
        ([stanza("a", "2", Breaks="b (<< 2)"), stanza("b", "1")], {"b"}),
        ([stanza("a", "2"), stanza("b", "1", Conflicts="a (>= 2)")], {"b"}),
        ([stanza("a", "2", Conflicts="b"), stanza("b", "1")], set()),
        ([stanza("a", "2", Source="s (1)"), stanza("b", "1", Source="s")], {"b"}),
    ],
)
def test_held_packages_are_let_go_only_where_a_moving_one_asks(
    chosen: list[dict[str, str]], also: set[str]
) -> None:
    by_name = {found["Package"]: found for found in chosen}
    locked = {"a": "1", "b": "1", "c": "1"}
    assert set(scope._too_old(by_name, locked, {"a"})) == also


def test_what_only_means() -> None:
    assert scope.parse("", []) == scope.EVERYTHING
    assert scope.parse("security", []).security
    assert scope.parse("bash", ["bash"]).names == ("bash",)
    with pytest.raises(UsageError, match="did you mean bash"):
        scope.parse("bsh", ["bash"])


# --- keys


def packet(tag: int, body: bytes, *, new: bool = False, width: int = 1) -> bytes:
    if new:
        head = bytes([0xC0 | tag])
        size = len(body)
        if size < 192:
            return head + bytes([size]) + body
        if size < 8384:
            return head + bytes([((size - 192) >> 8) + 192, (size - 192) & 0xFF]) + body
        return head + b"\xff" + size.to_bytes(4, "big") + body
    kind = {1: 0, 2: 1, 4: 2}[width]
    return bytes([0x80 | tag << 2 | kind]) + len(body).to_bytes(width, "big") + body


KEY = b"\x04" + bytes(50)
FINGERPRINT = hashlib.sha1(b"\x99\x00\x33" + KEY).hexdigest().upper()
WHOLE = packet(6, KEY) + packet(13, b"somebody") + packet(2, bytes(300), width=2)


def armored(data: bytes, kind: str = "PUBLIC KEY BLOCK") -> bytes:
    text = base64.encodebytes(data).decode()
    return (
        f"-----BEGIN PGP {kind}-----\nComment: x\n\n{text}=abcd\n-----END PGP {kind}-----\n"
    ).encode()


@pytest.mark.parametrize(
    "content",
    [
        WHOLE,
        armored(WHOLE),
        b"a note\n" + armored(WHOLE),
        packet(6, KEY, new=True) + packet(13, b"x" * 200, new=True) + packet(2, b"x", new=True),
        packet(6, KEY) + packet(17, bytes(9000), new=True),
    ],
)
def test_the_pinned_key_is_believed_in_every_form(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    assert keys.trusted(file, FINGERPRINT).startswith((packet(6, KEY), packet(6, KEY, new=True)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not an OpenPGP public key"),
        (b"ssh-ed25519 AAAA", "is not an OpenPGP public key"),
        (WHOLE[:-1], "is not an OpenPGP public key"),
        (b"\xc6\xe1" + bytes(9), "is not an OpenPGP public key"),
        (packet(13, b"x") + WHOLE, "is not an OpenPGP public key"),
        (armored(WHOLE) + armored(packet(6, b"\x04other")), "holds 2 keys"),
        (WHOLE + packet(6, b"\x04other"), "holds 2 keys"),
        (packet(6, b"\x04other"), f"but the spec pins {FINGERPRINT}"),
        (packet(6, b"\x06" + KEY), "holds the key of version 6"),
        (packet(5, KEY), "holds a private key"),
        (armored(packet(5, KEY), "PRIVATE KEY BLOCK"), "holds a private key"),
        (WHOLE + packet(7, KEY), "holds a private key"),
    ],
)
def test_anything_else_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "key.asc"
    file.write_bytes(content)
    with pytest.raises(BakehouseError, match=message) as caught:
        keys.trusted(file, FINGERPRINT)
    assert str(file) in caught.value.message
    assert caught.value.hint


# --- what a lock keeps


def lock(uids: dict[str, int]) -> Lock:
    return Lock(0, "trixie", "amd64", {}, {}, uids)


def test_people_keep_their_numbers_and_newcomers_get_free_ones() -> None:
    spec = Spec("web", users=(User("anna"), User("carl"), User("dora")))
    kept = kept_numbers(lock({"anna": 1001, "bert": 1000, "carl": 1002}), spec)
    assert kept == {"anna": 1001, "carl": 1002, "dora": 1003}


@pytest.mark.parametrize("content", [b"", b"other", None])
def test_a_cache_entry_is_known_by_its_digest(tmp_path: Path, content: bytes | None) -> None:
    home = Home(tmp_path)
    file = cached(home, TOOL)
    if content is not None:
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    assert not is_whole(file, TOOL)

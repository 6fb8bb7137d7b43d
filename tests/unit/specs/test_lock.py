"""The lock's form: what is written is read back, and a broken file is told as such."""

from dataclasses import replace
from pathlib import Path

import pytest

from specs.errors import UsageError
from specs.lock import Index, Lock, LockedPackage, changes, dump, load, parse

BASH = LockedPackage("bash", "5.2", "amd64", "debian", "pool/bash.deb", "a" * 64, 100)
ZLIB = LockedPackage("zlib1g", "1:1.3", "amd64", "debian", "pool/zlib.deb", "b" * 64, 50)
LOCK = Lock(
    epoch=1_700_000_000,
    release="trixie",
    architecture="amd64",
    sets={"base": (ZLIB,), "services": (BASH,), "tools": (BASH,)},
    indexes={"debian trixie": Index("2026-01-31T12:00:00Z", "c" * 64)},
    uids={"deploy": 1000, "caddy": 542},
    wanted={"base": ("zlib1g",), "services": ("bash", "other"), "extra": ()},
    images={"app": "sha256:" + "d" * 64},
)


def test_a_lock_is_read_back_as_it_was() -> None:
    assert parse(dump(LOCK), "x.lock") == LOCK


def test_the_same_lock_is_the_same_text_whatever_the_order() -> None:
    turned = replace(LOCK, sets=dict(reversed(list(LOCK.sets.items()))))
    assert dump(turned) == dump(LOCK)


def test_each_package_index_account_and_image_has_a_line() -> None:
    lines = dump(LOCK).splitlines()
    assert len([line for line in lines if line.startswith('   {"name": "bash"')]) == 2
    assert '  "debian trixie": {"date": "2026-01-31T12:00:00Z", "sha256": "ccc' in dump(LOCK)
    assert {'  "caddy": 542,', '  "deploy": 1000'} <= set(lines)
    assert '  "services": ["bash", "other"]' in lines
    assert max(len(line) for line in lines) < 400


def test_an_empty_lock_is_read_back() -> None:
    empty = Lock(0, "trixie", "amd64", {}, {}, {})
    assert parse(dump(empty), "x.lock") == empty


def test_one_new_version_changes_one_line() -> None:
    newer = replace(LOCK, sets={**LOCK.sets, "base": (replace(ZLIB, version="1:1.4"),)})
    pairs = zip(dump(LOCK).splitlines(), dump(newer).splitlines(), strict=True)
    assert len([1 for old, new in pairs if old != new]) == 1


def test_image_packages_leave_out_the_tools() -> None:
    assert LOCK.image_packages() == (BASH, ZLIB)


def test_packages_are_each_named_once() -> None:
    assert LOCK.packages() == (BASH, ZLIB)


def test_a_lock_with_both_sides_of_a_merge_is_not_to_be_deleted() -> None:
    """Who deletes it drops every version that is pinned."""
    text = dump(LOCK).replace(' "epoch"', '<<<<<<< HEAD\n "epoch"', 1)
    with pytest.raises(UsageError, match=r"^x\.lock: .*both sides") as raised:
        parse(text, "x.lock")
    assert "take one side from git, then `invoke lock`" in raised.value.hint
    assert "delete" not in raised.value.hint


def test_a_lock_that_is_no_text_is_told_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(UsageError, match=r"x\.lock: not a lock.*UTF-8"):
        load(path)
    path.write_text(dump(LOCK))
    assert load(path) == LOCK


def test_changes_are_told_by_layer() -> None:
    newer = replace(ZLIB, version="1:1.4", sha256="e" * 64)
    rebuilt = replace(BASH, sha256="f" * 64)
    new = replace(
        LOCK,
        sets={"base": (newer,), "services": (rebuilt,), "extra": (BASH,)},
        images={"new": "sha256:0"},
    )
    assert list(changes(LOCK, new)) == [
        "~ base: zlib1g 1:1.3 → 1:1.4",
        "~ services: bash 5.2 → 5.2 (another file of the same version)",
        "+ extra: bash 5.2",
        "- tools: bash 5.2",
        f"~ image of app: sha256:{'d' * 64} → none",
        "~ image of new: none → sha256:0",
    ]
    assert not list(changes(LOCK, LOCK))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 99}', '{"format": 1, "sets": {"base": [{}]}}', "null", "1"],
)
def test_what_is_no_lock_is_an_error_with_its_file(text: str) -> None:
    with pytest.raises(UsageError, match=r"web\.lock: not a lock"):
        parse(text, "web.lock")


@pytest.mark.parametrize(
    ("found", "planted"),
    [
        ('"name": "bash"', '"name": "../../etc/cron.d/x"'),
        ('"name": "bash"', '"name": "--force-yes"'),
        ('"version": "5.2"', '"version": "5.2/../x"'),
        ('"version": "5.2"', '"version": 5'),
        ('"architecture": "amd64", "archive"', '"architecture": "a/b", "archive"'),
        ('"archive": "debian"', '"archive": "x y"'),
        ('"path": "pool/bash.deb"', '"path": "pool/../../secret"'),
        ('"path": "pool/bash.deb"', '"path": "a\\nb"'),
        (f'"sha256": "{"a" * 64}"', f'"sha256": "../{"a" * 61}"'),
        ('"size": 100', '"size": "100"'),
        ('"size": 100', '"size": -1'),
        ('"caddy": 542', '"caddy": "542; touch /x"'),
        ('"caddy": 542', '"caddy": 0'),
        ('"caddy": 542', '"x; touch /x": 542'),
        ('"epoch": 1700000000', '"epoch": "x"'),
        ('"epoch": 1700000000', '"epoch": true'),
        ('"release": "trixie"', '"release": "../x"'),
        ('"tools": [', '"app:../x": ['),
        ('"other"', "5"),
        (f'"sha256:{"d" * 64}"', '"latest"'),
    ],
)
def test_a_tampered_lock_is_refused_with_what_is_wrong(found: str, planted: str) -> None:
    text = dump(LOCK)
    assert found in text
    with pytest.raises(UsageError, match=r"web\.lock: not a lock"):
        parse(text.replace(found, planted), "web.lock")

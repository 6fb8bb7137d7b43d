"""The lock's form: what is written is read back, and a broken file is told as such."""

from dataclasses import replace

import pytest

from specs.errors import UsageError
from specs.lock import Lock, LockedPackage, dump, parse

BASH = LockedPackage("bash", "5.2", "amd64", "debian", "pool/bash.deb", "a" * 64, 100)
ZLIB = LockedPackage("zlib1g", "1:1.3", "amd64", "debian", "pool/zlib.deb", "b" * 64, 50)
LOCK = Lock(
    epoch=1_700_000_000,
    release="trixie",
    architecture="amd64",
    sets={"base": (ZLIB,), "services": (BASH,), "tools": (BASH,)},
    indexes={"debian trixie": "c" * 64},
    uids={"deploy": 1000},
)


def test_a_lock_is_read_back_as_it_was() -> None:
    assert parse(dump(LOCK), "x.lock") == LOCK


def test_the_same_lock_is_the_same_text_whatever_the_order() -> None:
    turned = replace(LOCK, sets=dict(reversed(LOCK.sets.items())))
    assert dump(turned) == dump(LOCK)


def test_one_new_version_changes_few_lines() -> None:
    newer = replace(LOCK, sets={**LOCK.sets, "base": (replace(ZLIB, version="1:1.4"),)})
    pairs = zip(dump(LOCK).splitlines(), dump(newer).splitlines(), strict=True)
    assert len([1 for old, new in pairs if old != new]) == 1


def test_image_packages_leave_out_the_tools() -> None:
    assert LOCK.image_packages() == (BASH, ZLIB)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": 99}', '{"format": 1, "sets": {"base": [{}]}}', "null", "1"],
)
def test_what_is_no_lock_is_an_error_with_its_file(text: str) -> None:
    with pytest.raises(UsageError, match=r"web\.lock: not a lock"):
        parse(text, "web.lock")

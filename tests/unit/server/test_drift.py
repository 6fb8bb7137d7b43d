"""A tree against the manifest that was made of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from images.promote.status import drift_lines
from images.server import drift

LATEST = 1_800_000_000
NONE = {"changed": [], "added": [], "removed": [], "total": 0}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small system, its times as a bake leaves them."""
    for name, text in (
        ("etc/app.conf", "a = 1\n"),
        ("etc/hostname", "image\n"),
        ("usr/bin/tool", "#!/bin/sh\n"),
        ("usr/lib/bakehouse/guard.py", "ours\n"),
        ("var/lib/state", "x"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (LATEST - 100, LATEST - 100))
    (tmp_path / "usr/sbin").symlink_to("bin")
    drift.record(tmp_path, LATEST)
    return tmp_path


def test_what_is_as_baked_has_no_drift(root: Path) -> None:
    assert drift.compare(root) == NONE
    assert drift_lines(drift.compare(root)) == []


def test_a_manifest_is_the_same_for_the_same_tree(root: Path) -> None:
    """In whatever order its files were made, and whenever after the clock of the lock."""
    before = (root / drift.MANIFEST).read_bytes()
    os.utime(root / "etc/app.conf", (LATEST - 100, LATEST - 100))
    drift.record(root, LATEST)
    assert (root / drift.MANIFEST).read_bytes() == before
    os.utime(root / "usr/bin/tool", (LATEST + 5, LATEST + 5))
    drift.record(root, LATEST)
    os.utime(root / "usr/bin/tool", (LATEST, LATEST))
    assert drift.compare(root) == NONE


def test_each_kind_of_drift_is_found(root: Path) -> None:
    conf = root / "etc/app.conf"
    conf.write_text("a = 2\n")  # as long as before, and as old
    os.utime(conf, (LATEST - 100, LATEST - 100))
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "usr/bin/new").write_text("new")
    (root / "usr/lib/bakehouse/guard.py").unlink()
    (root / "usr/sbin").unlink()
    (root / "usr/sbin").symlink_to("elsewhere")
    (root / "var/lib/state").write_text("data is no drift")
    found = drift.compare(root)
    assert found["changed"] == ["etc/app.conf", "usr/bin/tool", "usr/sbin"]
    assert found["added"] == ["usr/bin/new"]
    assert found["removed"] == ["usr/lib/bakehouse/guard.py"]
    assert found["total"] == 5
    assert "      + /usr/bin/new" in drift_lines(found)


def test_what_a_server_learns_is_no_drift(root: Path) -> None:
    (root / "etc/hostname").write_text("shop\n")
    (root / "etc/ssh").mkdir()
    (root / "etc/ssh/ssh_host_ed25519_key").write_text("secret")
    assert drift.compare(root) == NONE


def test_many_are_told_shortly(root: Path) -> None:
    for number in range(30):
        (root / f"usr/bin/more-{number:02}").write_text("x")
    found = json.loads(json.dumps(drift.compare(root)))
    assert (len(found["added"]), found["total"]) == (drift.SHOWN, 30)
    assert drift_lines(found)[-1] == "      and 10 more"


def test_a_key_that_somebody_adds_is_drift_and_what_the_server_learns_is_none(root: Path) -> None:
    keys = root / "etc/ssh/authorized_keys.d"
    keys.mkdir(parents=True)
    for name in ("admin.boot", "bakehouse-peer", "admin"):
        (keys / name).write_text("ssh-ed25519 AAAA someone\n")
    assert drift.compare(root)["added"] == ["etc/ssh/authorized_keys.d/admin"]

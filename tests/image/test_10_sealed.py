"""The image before its first boot: nothing secret in it, and nothing that makes two servers one."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.image.kit import Expected

PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}")
"""A key itself, not a program that knows the word."""

LARGE = 4 << 20
"""Bytes; keys are small, so larger files are not read."""


def regular(tree: Path, *below: str) -> Iterator[Path]:
    """Regular files below folders of the image."""
    for name in below:
        for folder, _, names in os.walk(tree / name):
            for file in names:
                path = Path(folder, file)
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path


def shown(tree: Path, paths: Iterator[Path] | list[Path]) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in paths)


def test_no_host_keys(tree: Path) -> None:
    assert shown(tree, tree.glob("etc/ssh/ssh_host_*")) == []


def test_no_private_keys(tree: Path) -> None:
    found = [
        path
        for path in regular(tree, "etc", "root", "home", "var", "srv", "opt", "data", "usr/local")
        if path.stat().st_size < LARGE and PRIVATE_KEY.search(path.read_bytes())
    ]
    assert shown(tree, found) == []


def test_no_identity(tree: Path) -> None:
    assert (tree / "etc/machine-id").read_text() == ""
    dbus = tree / "var/lib/dbus/machine-id"
    assert dbus.is_symlink() or not dbus.exists()
    assert not (tree / "var/lib/systemd/random-seed").exists()
    assert not (tree / "var/lib/systemd/credential.secret").exists()


def test_no_logs(tree: Path) -> None:
    assert shown(tree, regular(tree, "var/log")) == []


def test_no_cloud_init_state(tree: Path) -> None:
    assert shown(tree, regular(tree, "var/lib/cloud", "run")) == []


def test_no_cluster(tree: Path) -> None:
    assert shown(tree, tree.glob("var/lib/postgresql/*/*")) == []
    assert shown(tree, (tree / "data").rglob("*")) == []


def test_no_snakeoil_key(tree: Path) -> None:
    assert not (tree / "etc/ssl/private/ssl-cert-snakeoil.key").exists()
    assert not (tree / "etc/ssl/certs/ssl-cert-snakeoil.pem").exists()


def test_no_package_lists_or_archives(tree: Path) -> None:
    assert shown(tree, regular(tree, "var/lib/apt/lists", "var/cache/apt")) == []
    assert shown(tree, tree.glob("etc/apt/sources.list.d/bakehouse*")) == []


def test_only_declared_keys_open_it(tree: Path, expect: Expected) -> None:
    declared = {
        f"etc/ssh/authorized_keys.d/{person['name']}": person["keys"]
        for person in expect["people"]
        if person["keys"]
    }
    found = {
        str(path.relative_to(tree)): path.read_text().splitlines()
        for path in regular(tree, "etc/ssh/authorized_keys.d")
    }
    assert found == declared
    assert shown(tree, [*tree.glob("home/*/.ssh/*"), *tree.glob("root/.ssh/*")]) == []


def test_no_passwords(tree: Path) -> None:
    fields = [line.split(":") for line in (tree / "etc/shadow").read_text().splitlines()]
    assert [name for name, password, *_ in fields if not password.startswith(("!", "*"))] == []


def test_no_planted_secret(tree: Path, expect: Expected) -> None:
    values = [value.encode() for value in expect["secrets"].values()]
    found = [
        path
        for path in regular(tree, "etc", "root", "home", "var/lib", "usr/lib/bakehouse")
        if path.stat().st_size < LARGE and any(value in path.read_bytes() for value in values)
    ]
    assert shown(tree, found) == []
    assert shown(tree, tree.glob("run/bakehouse/secrets/*")) == []


def test_nothing_of_the_bake_is_left(tree: Path) -> None:
    assert shown(tree, tree.glob("run/bakehouse-bake/**/*")) == []
    assert not (tree / "usr/sbin/policy-rc.d").exists()

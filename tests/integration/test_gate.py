"""The gate of an image can fail: what is wrong with an image is what its suite says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from images.mounts import overlay
from images.recipe import prepare, read_lock
from images.rootfs import mounted
from images.verify import Report, verify
from specs.plan import Plan
from specs.read import read
from tests.integration.conftest import HOBBY

pytestmark = pytest.mark.root

INTRUDER = """[Service]
ExecStart=/usr/bin/python3 -m http.server 9999
[Install]
WantedBy=multi-user.target
"""


@pytest.fixture(scope="module")
def plan(hobby_image: Path) -> Plan:
    """The plan that the image was baked from; its lock is there once it is."""
    return prepare(read(HOBBY), HOBBY, read_lock(HOBBY)).plan


@contextmanager
def broken(image: Path, scratch: Path) -> Iterator[Path]:
    """A writable copy of the image's files."""
    with (
        mounted(image, scratch / "image") as tree,
        overlay([tree], scratch / "upper", scratch) as copy,
    ):
        yield copy


def failed(report: Report) -> set[str]:
    """The names of the tests that failed."""
    return {failure.test.rpartition("::")[2] for failure in report.failures}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, f"{path} has no {old!r}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_each_fault_fails_its_own_test(hobby_image: Path, plan: Plan, tmp_path: Path) -> None:
    with broken(hobby_image, tmp_path) as root:
        (root / "etc/ssh/ssh_host_rsa_key").write_text("planted\n")
        (root / "var/log/left.log").write_text("from the bake\n")
        edit(root / "var/lib/dpkg/status", "Package: less\n", "Package: less\nX-Edited: yes\n")
        edit(root / "etc/shadow", "deploy:!", "deploy:$y$j9T$planted$hash")
        units = root / "etc/systemd/system"
        (units / "bakehouse-backup.timer").unlink()
        (units / "bakehouse-backup.timer").symlink_to("/dev/null")
        (units / "intruder.service").write_text(INTRUDER)
        wanted = units / "multi-user.target.wants/intruder.service"
        wanted.symlink_to("/etc/systemd/system/intruder.service")
        rules = root / "etc/bakehouse/firewall.nft"
        edit(rules, "tcp dport 22 accept", "tcp dport { 22, 9999 } accept")
        report = verify(root, plan)
    assert not report.passed
    assert {
        "test_no_host_keys",
        "test_no_logs",
        "test_no_passwords",
        "test_nobody_else_can_log_in",
        "test_people",
        "test_open_ports_are_the_declared_ones",
        "test_units_are_active",
        "test_units_start_at_boot",
    } <= failed(report)
    assert {"test_no_cluster", "test_sshd_settings", "test_sites_answer"}.isdisjoint(failed(report))

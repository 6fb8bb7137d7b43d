"""The units of a backup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudinit import borg
from cloudinit.part import Part
from specs.model import Borg
from specs.plan import ImagePlan


def unit(plan: ImagePlan, name: str) -> list[str]:
    path = f"/etc/systemd/system/{name}"
    (found,) = (file for file in borg.part(plan).files if file.path == path)
    return found.content.splitlines()


def test_nothing_without_backups(plan: ImagePlan) -> None:
    assert borg.part(replace(plan, borg=None)) == Part()


def test_timers_follow_the_spec(plan: ImagePlan) -> None:
    plan = replace(plan, borg=Borg("/mnt/b", schedule="daily", check="Sat 04:00"))
    assert "OnCalendar=daily" in unit(plan, "bakehouse-backup.timer")
    assert "OnCalendar=Sat 04:00" in unit(plan, "bakehouse-backup-check.timer")
    assert borg.part(plan).enable == ("bakehouse-backup.timer", "bakehouse-backup-check.timer")


@pytest.mark.parametrize("name", ["bakehouse-backup.service", "bakehouse-backup-check.service"])
def test_secrets_are_credentials_and_may_be_missing(plan: ImagePlan, name: str) -> None:
    lines = unit(plan, name)
    for secret in ("borg_passphrase", "borg_ssh_key"):
        assert f"LoadCredential={secret}:/run/bakehouse/secrets/{secret}" in lines
        assert f"SetCredential={secret}:\\n" in lines


def test_a_repository_on_a_disk_is_mounted_and_writable(plan: ImagePlan) -> None:
    lines = unit(replace(plan, borg=Borg("/mnt/b")), "bakehouse-backup.service")
    assert {"RequiresMountsFor=/mnt/b", "ReadWritePaths=-/mnt/b"} <= set(lines)


def test_a_repository_elsewhere_opens_no_path(plan: ImagePlan) -> None:
    assert not any("backup.example.org" in line for line in unit(plan, "bakehouse-backup.service"))


def test_nothing_secret_lies_in_the_image(plan: ImagePlan) -> None:
    for file in borg.part(plan).files:
        assert "BORG_PASSPHRASE" not in file.content

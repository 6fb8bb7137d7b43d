"""`bake.yaml`: the same bytes for the same plan, and nothing in it that could fail in silence."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cloudinit import bake as module
from cloudinit.accounts import accounts_script
from cloudinit.bake import bake
from cloudinit.part import File, Part
from cloudinit.validate import load
from specs.model import System
from specs.plan import ImagePlan


def test_order_and_clock_do_not_matter(plan: ImagePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    sysctl = {"vm.swappiness": "10", "net.core.somaxconn": "4096"}
    one = replace(plan, system=System(sysctl=sysctl))
    other = replace(plan, system=System(sysctl=dict(reversed(sysctl.items()))))
    first = bake(one)
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "Pacific/Chatham")
        elsewhere.setenv("LC_ALL", "tr_TR.UTF-8")
        time.tzset()
        assert bake(other) == first
    time.tzset()  # other tests tell the time, too


def test_packages_carry_their_locked_versions(plan: ImagePlan) -> None:
    assert load(bake(plan))["packages"] == ["acl=2.3.2-2+b1", "zstd=1.5.7+dfsg-1"]


def test_without_a_lock_packages_are_named_only(plan: ImagePlan) -> None:
    packages = load(bake(replace(plan, lock=None)))["packages"]
    assert {"openssh-server", "postgresql-17", "caddy"} <= set(packages)
    assert packages == sorted(packages)


def test_every_file_waits_for_packages_and_users(plan: ImagePlan) -> None:
    files = load(bake(plan))["write_files"]
    assert all(file["defer"] is True for file in files)
    assert [file["path"] for file in files] == sorted({file["path"] for file in files})


def test_scripts_stop_at_the_first_failure(plan: ImagePlan) -> None:
    document = load(bake(plan))
    assert document["runcmd"][0].startswith("set -e")
    assert document["bootcmd"][0].startswith("set -e")


def test_the_document_brings_its_own_modules(plan: ImagePlan) -> None:
    stages = ("cloud_init_modules", "cloud_config_modules", "cloud_final_modules")
    document = load(bake(plan))
    used = {module for stage in stages for module in document[stage]}
    assert {"bootcmd", "users_groups", "write_files_deferred", "scripts_user"} <= used
    assert not used & {"ssh", "growpart", "power_state_change", "set_passwords"}


def test_people_have_fixed_numbers_and_no_password(plan: ImagePlan) -> None:
    deploy, reader = load(bake(plan))["users"]
    assert (deploy["name"], deploy["uid"], deploy["groups"]) == ("deploy", 1000, ["docker"])
    assert (reader["name"], reader["uid"]) == ("reader", 1001)
    assert deploy["lock_passwd"] is True
    assert reader["lock_passwd"] is True


def test_a_lock_keeps_a_person_s_number(plan: ImagePlan) -> None:
    assert plan.lock is not None
    lock = replace(plan.lock, uids={**plan.lock.uids, "reader": 1007})
    assert load(bake(replace(plan, lock=lock)))["users"][1]["uid"] == 1007


def test_accounts_are_those_of_declared_sections(plan: ImagePlan) -> None:
    script = accounts_script(replace(plan, postgres=None, caddy=None))
    assert "group docker 543" in script
    assert "account postgres" not in script
    assert "account caddy" not in script


def test_two_sections_cannot_write_one_file(
    plan: ImagePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def part(plan: ImagePlan) -> Part:
        return Part(files=(File("/etc/hostname", "other\n"),))

    other = SimpleNamespace(__name__="cloudinit.other", part=part)
    monkeypatch.setattr(module, "SECTIONS", (*module.SECTIONS, other))
    with pytest.raises(ValueError, match="system and other both write /etc/hostname"):
        bake(plan)


def test_units_are_enabled_last_and_traces_removed(plan: ImagePlan) -> None:
    runcmd = load(bake(plan))["runcmd"]
    assert runcmd[-3].startswith("systemctl enable ")
    assert runcmd[-2].startswith("systemctl mask ")
    assert "policy-rc.d" in runcmd[-1]

"""SSH, keys and sudo."""

from __future__ import annotations

from dataclasses import replace

from cloudinit import access
from specs.model import Ssh, User
from specs.plan import ImagePlan

SSHD = "/etc/ssh/sshd_config.d/10-bakehouse.conf"


def files(plan: ImagePlan) -> dict[str, str]:
    return {file.path: file.content for file in access.part(plan).files}


def setting(plan: ImagePlan, name: str) -> str:
    lines = files(plan)[SSHD].splitlines()
    return next(line.split(" ", 1)[1] for line in lines if line.startswith(f"{name} "))


def test_compat_adds_key_exchanges_and_changes_nothing_else(plan: ImagePlan) -> None:
    compat = replace(plan, ssh=Ssh(kex="compat"))
    before, after = files(plan)[SSHD].splitlines(), files(compat)[SSHD].splitlines()
    changed = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert len(changed) == 1
    assert changed[0][1].startswith(f"{changed[0][0]},curve25519-sha256")


def test_root_stays_out_while_somebody_has_sudo(plan: ImagePlan) -> None:
    assert setting(plan, "PermitRootLogin") == "no"
    nobody = replace(plan, users=(User("reader"),))
    assert setting(nobody, "PermitRootLogin") == "prohibit-password"


def test_only_the_spec_s_users_log_in(plan: ImagePlan) -> None:
    assert setting(plan, "AllowUsers") == "deploy reader"
    assert setting(replace(plan, users=(User("reader"),)), "AllowUsers") == "reader root"


def test_only_who_has_sudo_may_share_a_connection_widely(plan: ImagePlan) -> None:
    before, match, after = files(plan)[SSHD].partition("\nMatch User deploy\n")
    assert match
    assert "\nMaxSessions 2\n" in before
    assert "    MaxSessions 20\n" in after


def test_keys_are_root_s_files(plan: ImagePlan) -> None:
    found = files(plan)
    assert found["/etc/ssh/authorized_keys.d/deploy"].startswith("ssh-ed25519 ")
    assert "/etc/ssh/authorized_keys.d/reader" not in found


def test_sudo_is_for_those_who_have_it(plan: ImagePlan) -> None:
    assert files(plan)["/etc/sudoers.d/bakehouse"] == "deploy ALL=(ALL:ALL) NOPASSWD: ALL\n"
    assert "/etc/sudoers.d/bakehouse" not in files(replace(plan, users=(User("reader"),)))


def test_port(plan: ImagePlan) -> None:
    assert setting(replace(plan, ssh=Ssh(port=2222)), "Port") == "2222"

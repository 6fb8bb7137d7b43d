"""The system itself: packages, people, SSH, units, kernel settings, time, journal."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.image.kit import Expected, Shell


def test_first_boot_was_without_errors(sh: Shell) -> None:
    status = json.loads(sh("cloud-init status --wait --format json"))
    assert (status["status"], status["errors"]) == ("done", [])
    assert {
        level: found for level, found in status["recoverable_errors"].items() if level != "INFO"
    } == {}


def test_packages_are_exactly_the_locked_ones(sh: Shell, expect: Expected) -> None:
    if not expect["packages"]:
        pytest.skip("the plan has no lock")
    query = "dpkg-query --show --showformat '${binary:Package} ${Version} ${db:Status-Abbrev}\\n'"
    installed = {}
    for line in sh(query).splitlines():
        name, version, state = line.split()
        assert state == "ii", f"{name} is not installed properly: {state}"
        installed[name.partition(":")[0]] = version
    if expect["vendor_base"]:
        installed = {name: installed[name] for name in installed if name in expect["packages"]}
    assert installed == expect["packages"]


def test_installed_files_are_as_packaged(sh: Shell) -> None:
    """What dpkg's checksums say of everything but configuration."""
    changed = sh("dpkg --verify --verify-format rpm || true").splitlines()
    assert [line for line in changed if " c /" not in line and "missing" not in line] == []


def test_people(sh: Shell, expect: Expected) -> None:
    for person in expect["people"]:
        name = person["name"]
        fields = sh("getent passwd", name).strip().split(":")
        assert (int(fields[2]), fields[6]) == (person["uid"], person["shell"])
        assert sorted(sh("id -Gn", name).split()) == person["groups"]
        assert sh("passwd --status", name).split()[1] == "L"
        listed = sh("sudo -l -U", name)
        assert ("(ALL : ALL) NOPASSWD: ALL" in listed) == person["sudo"], listed


def test_nobody_else_can_log_in(sh: Shell, expect: Expected) -> None:
    people = {person["name"] for person in expect["people"]}
    for line in sh("getent passwd").splitlines():
        name, _, uid, _, _, _, shell = line.split(":")
        if int(uid) >= 1000 and name not in people:
            assert shell.endswith(("/nologin", "/false")), line
    hashes = [line.split(":")[1] for line in sh("cat /etc/shadow").splitlines()]
    assert [value for value in hashes if not value.startswith(("!", "*"))] == []


def test_accounts_have_their_numbers(sh: Shell, expect: Expected) -> None:
    for name, number in expect["accounts"].items():
        database = "group" if name == "docker" else "passwd"
        assert sh(f"getent {database}", name).split(":")[2] == str(number), name


def test_sshd_settings(sh: Shell, expect: Expected) -> None:
    lines = [line.partition(" ") for line in sh("sshd -T").splitlines()]
    effective = {key: value for key, _, value in lines}
    assert {key: effective[key] for key in expect["sshd"]} == expect["sshd"]
    exchanges = effective["kexalgorithms"].split(",")
    assert ("curve25519-sha256" in exchanges) == expect["kex_compat"]
    assert all("sha1" not in name and "nistp" not in name for name in exchanges)
    assert [key for key, _, _ in lines if key == "hostkey"] == ["hostkey"]


def test_operators_sessions_share_one_connection(sh: Shell, expect: Expected) -> None:
    who = f"user={expect['admin']},host=anywhere,addr=192.0.2.1"
    assert "maxsessions 20" in sh("sshd -T -C", who).splitlines()


def test_sshd_refuses_passwords(addresses: list[str], expect: Expected) -> None:
    words = ["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
    words += ["-o", "UserKnownHostsFile=/dev/null", "-o", "PubkeyAuthentication=no"]
    words += ["-p", expect["sshd"]["port"], f"{expect['admin']}@{addresses[0]}", "true"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert "Permission denied (publickey)" in done.stderr


def test_units_are_active(sh: Shell, expect: Expected) -> None:
    names = [*expect["units"], *expect["timers"]]
    states = sh("systemctl show --property Id,ActiveState,SubState", *names).split("\n\n")
    found = {}
    for block in states:
        values = dict(line.split("=", 1) for line in block.split())
        found[values["Id"]] = values["ActiveState"]
    assert found == dict.fromkeys(names, "active")


def test_units_start_at_boot(sh: Shell, expect: Expected) -> None:
    names = [name for name in expect["units"] if "journald" not in name]
    states = sh("systemctl is-enabled", *names, *expect["timers"]).split()
    assert set(states) <= {"enabled", "enabled-runtime"}, dict(zip(names, states, strict=False))


def test_nothing_failed(sh: Shell) -> None:
    assert sh("systemctl list-units --state=failed --plain --no-legend") == ""


def test_no_updates_on_a_running_server(sh: Shell) -> None:
    waiting = sh("systemctl list-timers --plain --no-legend")
    assert not re.search(r"\b(apt-daily|unattended-upgrades|dpkg-db)", waiting)


def test_kernel_settings(sh: Shell, expect: Expected, kind: str) -> None:
    """A container shares its kernel: there only the settings of its own network are its own.
    What was baked and not booted since has none of them yet."""
    declared = sh("systemd-analyze cat-config sysctl.d").splitlines()
    configured = dict(
        re.split(r"\s*=\s*", line.lstrip("-"), maxsplit=1)
        for line in declared
        if re.match(r"-?[a-z].*=", line)
    )
    wanted = {**expect["sysctl"]}
    assert {key: configured.get(key) for key in wanted} == wanted
    if kind not in ("nspawn", "baked"):
        effective = {key: sh("sysctl -n", key).strip() for key in wanted}
        assert effective == wanted


def test_time_and_language(sh: Shell, expect: Expected, kind: str) -> None:
    assert sh("readlink /etc/localtime").strip().endswith(f"zoneinfo/{expect['timezone']}")
    assert f"LANG={expect['locale']}" in sh("cat /etc/locale.conf").splitlines()
    assert expect["locale"].replace("-", "").lower() in sh("locale -a").lower().replace("-", "")
    assert sh("systemctl is-enabled systemd-timesyncd").strip() == "enabled"
    idle = kind in ("nspawn", "baked")
    assert idle or sh("systemctl is-active systemd-timesyncd").strip() == "active"


def test_journal_is_kept_and_limited(sh: Shell) -> None:
    text = sh("systemd-analyze cat-config systemd/journald.conf")
    settings = dict(re.findall(r"^([A-Z]\w+)=(.+)$", text, re.MULTILINE))
    assert settings["Storage"] == "persistent"
    assert settings["SystemMaxUse"] and settings["MaxRetentionSec"]
    assert sh("ls /var/log/journal").strip()


def test_host_name(sh: Shell, expect: Expected) -> None:
    assert sh("hostname").strip() == expect["hostname"]
    assert sh("getent hosts", expect["hostname"])


def test_our_programs_are_unchanged(sh: Shell, tree: Path) -> None:
    for name in ("etc/bakehouse/server.json",):
        assert sh("cat", f"/{name}") == (tree / name).read_text()


def test_data_has_no_devices_and_gives_nobody_elses_rights(sh: Shell) -> None:
    """Its files come from apps, and from the server that this one replaces."""
    options = sh("findmnt --noheadings --output OPTIONS --target /data").strip().split(",")
    assert {"nosuid", "nodev"} <= set(options)

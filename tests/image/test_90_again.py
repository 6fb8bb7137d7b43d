"""A second boot, and cloud-init run as if for another server: nothing changes, nothing is lost."""

from __future__ import annotations

import subprocess
import time
from dataclasses import asdict, dataclass

import pytest
from testinfra.host import Host

from tests.image.kit import Expected, Shell

PATIENCE = 180
SEED = "/var/lib/cloud/seed/nocloud"


@dataclass(frozen=True)
class State:
    """What must be the same after every boot."""

    host_keys: str
    machine_id: str
    host_name: str
    addresses: str
    routes: str
    people: str
    keys: str
    sudo: str
    rows: str
    passwords: str
    containers: str


def look(sh: Shell, expect: Expected) -> State:
    names = [
        database["name"] for database in (expect["postgres"] or {"databases": []})["databases"]
    ]
    rows = "".join(
        sh(f"psql -qAtX -h /run/postgresql -U postgres -d {name} -c 'TABLE bakehouse_probe'")
        for name in names
    )
    return State(
        host_keys=sh("cat /etc/ssh/ssh_host_*"),
        machine_id=sh("cat /etc/machine-id"),
        host_name=sh("hostname"),
        addresses=sh(
            "ip -brief address show scope global | grep -E '^(host|en|eth)' | cut -d@ -f2-"
        ),
        routes=sh("ip route show default; ip -6 route show default"),
        people=sh("getent passwd"),
        keys=sh("cat /etc/ssh/authorized_keys.d/*"),
        sudo=sh("cat /etc/sudoers.d/*"),
        rows=rows,
        passwords=sh("cat /data/state/*.json 2>/dev/null || true"),
        containers=(
            sh("docker ps --format '{{.Names}} {{.Image}}' | sort") if expect["docker"] else ""
        ),
    )


def reboot(host: Host, sh: Shell, expect: Expected) -> None:
    """Reboot in order, and wait until every unit is as it should be."""
    boot = sh("cat /proc/sys/kernel/random/boot_id")
    host.run("systemctl reboot")
    words = ["ssh", "-F", str(host.backend.ssh_config), "-O", "exit", "machine"]
    deadline = time.monotonic() + PATIENCE
    units = " ".join([*expect["units"], *expect["timers"]])
    while time.monotonic() < deadline:
        subprocess.run(words, capture_output=True, check=False)
        done = host.run(f"cat /proc/sys/kernel/random/boot_id && systemctl is-active {units}")
        if done.rc == 0 and not done.stdout.startswith(boot):
            break
        time.sleep(0.5)
    assert sh("systemctl is-system-running --wait").strip() == "running", sh(
        "systemctl list-units --failed"
    )
    assert sh("cat /proc/sys/kernel/random/boot_id") != boot


@pytest.fixture(scope="module")
def before(sh: Shell, expect: Expected) -> State:
    """The state before the first reboot, with a row in every database."""
    for database in (expect["postgres"] or {"databases": []})["databases"]:
        sh(
            f"psql -qAtX -h /run/postgresql -U postgres -d {database['name']} -c",
            "CREATE TABLE bakehouse_probe AS SELECT 'kept' AS word",
        )
    return look(sh, expect)


def test_a_reboot_changes_nothing(host: Host, sh: Shell, expect: Expected, before: State) -> None:
    reboot(host, sh, expect)
    assert asdict(look(sh, expect)) == asdict(before)


def test_a_second_first_boot_changes_nothing(
    host: Host, sh: Shell, expect: Expected, before: State
) -> None:
    """As a server made from a snapshot of this one would find itself: another instance id."""
    sh("cloud-init clean --logs")
    sh(f"sed -i 's/^instance-id: .*/instance-id: another/' {SEED}/meta-data")
    reboot(host, sh, expect)
    assert asdict(look(sh, expect)) == asdict(before)


def test_without_its_seed_it_keeps_its_network(
    host: Host, sh: Shell, expect: Expected, before: State
) -> None:
    """A vendor whose metadata is out of reach must not cost a server its addresses."""
    sh(f"cloud-init clean --logs && mv {SEED} {SEED}.away")
    try:
        reboot(host, sh, expect)
        assert asdict(look(sh, expect)) == asdict(before)
    finally:
        sh(f"mv {SEED}.away {SEED}")

"""A second boot, and cloud-init run as if for another server: nothing changes, nothing is lost."""

from __future__ import annotations

import subprocess
import time
from dataclasses import asdict, dataclass

import pytest

from tests.image.kit import Expected, Shell

PATIENCE = 600
"""Seconds; an emulated machine takes a minute and more to boot."""

UNSETTLED = frozenset({"initializing", "starting", "activating", "reloading"})
BOOT_ID = "/proc/sys/kernel/random/boot_id"
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
            "ip -brief address show scope global"
            " | sed -nE 's/^((host|en|eth)[^@ ]*)[^ ]*/\\1/p' | sort"
        ),
        routes=sh(
            "{ ip route show default; ip -6 route show default; }"
            " | sed -E 's/ (nhid|expires) [0-9]+(sec)?//g'"
        ),
        people=sh("getent passwd"),
        keys=sh("cat /etc/ssh/authorized_keys.d/*"),
        sudo=sh("cat /etc/sudoers.d/*"),
        rows=rows,
        passwords=sh("cat /data/state/*.json 2>/dev/null || true"),
        containers=(
            sh("docker ps --format '{{.Names}} {{.Image}}' | sort") if expect["docker"] else ""
        ),
    )


def reboot(config: str, expect: Expected) -> None:
    """Reboot in order, and wait until every unit is as it should be, by what the server kept."""
    before = ask(config, f"cat {BOOT_ID}").stdout
    ask(config, "sudo systemctl reboot")
    deadline = time.monotonic() + PATIENCE
    while ask_anew(config, f"cat {BOOT_ID}").stdout in ("", before):
        assert time.monotonic() < deadline, "does not let us in after its reboot"
        time.sleep(0.5)
    names = [*expect["units"], *expect["timers"]]
    units = " ".join(names)
    question = f"systemctl is-system-running; systemctl is-active {units}"
    states: list[str] = []
    while time.monotonic() < deadline and (len(states) < len(names) + 1 or UNSETTLED & {*states}):
        time.sleep(0.5)
        states = ask(config, question).stdout.split()  # a login costs a slow machine seconds
    found = ask(config, "systemctl is-system-running; systemctl list-units --failed").stdout
    assert found.startswith("running\n"), found
    assert set(ask(config, f"systemctl is-active {units}").stdout.split()) == {"active"}


def ask_anew(config: str, line: str) -> subprocess.CompletedProcess[str]:
    """As `ask`, by a connection that cannot be one to the boot before."""
    subprocess.run(["ssh", "-F", config, "-O", "exit", "machine"], capture_output=True, check=False)
    return ask(config, line)


def ask(config: str, line: str) -> subprocess.CompletedProcess[str]:
    """Run a line by SSH; unlike testinfra, no connection and no end are an answer too."""
    words = ["ssh", "-F", config, "machine", line]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 255, "", "")


@pytest.fixture(scope="module")
def config(request: pytest.FixtureRequest) -> str:
    """The SSH configuration that testinfra was given."""
    return str(request.config.getoption("--ssh-config"))


@pytest.fixture(scope="module")
def before(sh: Shell, expect: Expected) -> State:
    """The state before the first reboot, with a row in every database."""
    for database in (expect["postgres"] or {"databases": []})["databases"]:
        sh(
            f"psql -qAtX -h /run/postgresql -U postgres -d {database['name']} -c",
            "CREATE TABLE bakehouse_probe AS SELECT 'kept' AS word",
        )
    return look(sh, expect)


def test_a_reboot_changes_nothing(config: str, sh: Shell, expect: Expected, before: State) -> None:
    reboot(config, expect)
    assert asdict(look(sh, expect)) == asdict(before)


def test_a_second_first_boot_changes_nothing(
    config: str, sh: Shell, expect: Expected, before: State
) -> None:
    """As a server made from a snapshot of this one would find itself: another instance id."""
    sh("cloud-init clean --logs")
    other = "s/^instance-id: .*/instance-id: another/"
    sh(f"test ! -e {SEED}/meta-data || sed -i '{other}' {SEED}/meta-data")
    reboot(config, expect)
    assert asdict(look(sh, expect)) == asdict(before)


def test_without_its_seed_it_keeps_its_network(
    config: str, sh: Shell, expect: Expected, before: State
) -> None:
    """A vendor whose metadata is out of reach must not cost a server its addresses."""
    if sh(f"ls {SEED}/meta-data 2>/dev/null || true") == "":
        pytest.skip("the seed is a disk of its own")
    sh(f"cloud-init clean --logs && mv {SEED} {SEED}.away")
    try:
        reboot(config, expect)
        assert asdict(look(sh, expect)) == asdict(before)
    finally:
        sh(f"mv {SEED}.away {SEED}")

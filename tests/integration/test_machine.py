"""Throwaway machines: they boot, survive what servers survive, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import machine
from images.groups import GROUP, group_root
from images.lab import FOLDER, Lab, lab, sweep
from images.machine import Description, Machine
from images.mounts import mounts_below
from images.network import NAMESPACES
from tests.integration.conftest import Describe

pytestmark = pytest.mark.root
PROJECT = Path(__file__).parents[2]

HOLD = """
import sys, time
from pathlib import Path
from images import lab, machine
with lab.lab() as place:
    what = machine.Description(Path(sys.argv[1]), "nobody", lambda key: "#cloud-config\\n")
    with machine.booted(place, what, wait=False):
        print(place.name, flush=True)
        time.sleep(600)
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Lab]:
    with lab() as found:
        yield found


@pytest.fixture(scope="module")
def what(hobby: Describe) -> Description:
    return hobby("throwaway", True)


@pytest.fixture(scope="module")
def booted(place: Lab, what: Description) -> Iterator[Machine]:
    with machine.booted(place, what) as found:
        yield found


def leftovers(name: str) -> list[str]:
    """Whatever carries the lab's name on this machine."""
    found = [str(path) for path in FOLDER.glob(f"{name}*")]
    found += [str(path) for path in (group_root() / GROUP).glob(f"{name}*")]
    found += [str(path) for path in NAMESPACES.glob(name)]
    return found + mounts_below(FOLDER / name)


def boot_id(target: Machine) -> str:
    return target.run("cat /proc/sys/kernel/random/boot_id").stdout


def test_client_reaches_the_machine_and_nothing_else(booted: Machine) -> None:
    assert booted.run("id -u").stdout == "0\n"
    outside = [sys.executable, "-c", "import socket; socket.create_connection(('192.0.2.2', 9), 5)"]
    refused = booted.client(outside, check=False)
    assert "Network is unreachable" in refused.stderr


def test_reboot_keeps_what_was_written(booted: Machine) -> None:
    before = boot_id(booted)
    booted.run("echo kept >/root/mark")
    booted.reboot()
    assert boot_id(booted) != before
    assert booted.run("cat /root/mark").stdout == "kept\n"


def test_power_cut_keeps_what_was_synced(booted: Machine) -> None:
    before = boot_id(booted)
    booted.run("echo synced >/root/mark && sync")
    booted.power_cut()
    booted.start()
    booted.wait()
    assert boot_id(booted) != before
    assert booted.run("cat /root/mark").stdout == "synced\n"


def test_the_image_itself_is_never_written(booted: Machine, what: Description) -> None:
    stat = what.source.stat()
    booted.run("echo changed >/etc/hostname && sync")
    assert what.source.stat().st_mtime_ns == stat.st_mtime_ns


def test_two_machines_do_not_disturb_each_other(what: Description) -> None:
    """Each has a control group of its own; in a shared one systemd takes both for its own."""
    other = Description(what.source, what.admin, what.user_data, number=2)
    with lab() as place, machine.booted(place, what) as one, machine.booted(place, other) as two:
        one.run("systemctl stop ssh.socket caddy 2>/dev/null; systemctl stop caddy")
        assert two.run("systemctl is-active ssh", check=False).stdout == "active\n"
        assert one.address != two.address
        assert one.run(f"ssh-keyscan -T 5 {two.address.v4} 2>/dev/null").stdout
    assert leftovers(place.name) == []


def test_an_exception_leaves_nothing(what: Description) -> None:
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        lab() as place,
        machine.booted(place, what, wait=False),
    ):
        raise RuntimeError("in the middle")
    assert leftovers(place.name) == []


def test_a_killed_run_is_swept(what: Description) -> None:
    """kill -9 of our process; the next run finds container, mounts and namespace, and ends them."""
    words = [sys.executable, "-c", HOLD, str(what.source)]
    with subprocess.Popen(words, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        name = holder.stdout.readline().strip()
        assert leftovers(name)
        assert name not in sweep(), "the lab of a living run was swept"
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert name in sweep()
    deadline = time.monotonic() + 10
    while (left := leftovers(name)) and time.monotonic() < deadline:
        time.sleep(0.1)
        sweep()  # as the next run does: a process that was just starting may have come after it
    assert left == []


def test_a_control_group_without_a_lab_is_swept() -> None:
    group = group_root() / GROUP / "bh-0testing0-1/keeper"
    group.mkdir(parents=True)
    sweep()
    assert not group.parent.exists()

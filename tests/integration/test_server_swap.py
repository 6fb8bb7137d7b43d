"""A whole swap of two servers with clients at work, killed at every boundary, and back again."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from images.machine import Machine
from images.server.table import TABLE
from tests.integration.conftest import Describe
from tests.integration.pair import ADMIN, PROGRAM, Pair, answers, pair, writers

pytestmark = pytest.mark.root

KILLER = """
import json, sys, time
path, group, epoch, step, what = sys.argv[1:]
seen = 0
while True:
    with open(path, "rb") as file:
        file.seek(seen)
        new = file.read()
    for line in new.splitlines():
        found = json.loads(line)
        if (found["epoch"], found["step"], found["what"]) == (int(epoch), step, what):
            open(group + "/cgroup.kill", "w").write("1")
            sys.exit()
    seen += len(new)
    time.sleep(0.0005)
"""
"""Ends every process of the unit, as `kill -9` does, once a line stands in the journal."""


@pytest.fixture(scope="module")
def servers(hobby: Describe) -> Iterator[Pair]:
    with pair(hobby) as found:
        yield found


def arm_killer(machine: Machine, epoch: int, step: str, what: str) -> None:
    """From now on the unit dies at that line."""
    group = "/sys/fs/cgroup/system.slice/bakehouse-swap.service"
    words = ["/var/lib/bakehouse/swap.jsonl", group, str(epoch), step, what]
    machine.run("touch /var/lib/bakehouse/swap.jsonl; cat >/run/killer.py", stdin=KILLER)
    line = shlex.join(["systemd-run", "--quiet", "python3", "/run/killer.py", *words])
    machine.run(line)


def check(servers: Pair, found: dict[str, Any], told: dict[str, Any]) -> None:
    """No request failed, nothing that was acknowledged is lost, nothing is there twice."""
    assert told["failed"] == []
    counted = Counter(servers.table())
    assert [id for id in told["acked"] if counted[id] != 1] == []
    assert [id for id, times in counted.items() if times > 1] == []
    assert servers.writable() == [servers.blue.name]
    assert servers.guard(servers.blue) == "serving"
    assert found["second_copy"]


def eventually(so: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not (done := so()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return done


def figures(found: dict[str, Any], told: dict[str, Any]) -> str:
    """One line for people."""
    steps = "  ".join(f"{step['step']} {step['seconds'] * 1000:.0f}" for step in found["steps"])
    return (
        f"pause seen by clients {told['pause']:.3f} s, longest request {told['longest']:.3f} s,"
        f" {told['rate']:.0f} writes/s; journal: paused {found['write_pause_seconds']} s,"
        f" held {found['held_seconds']} s; ms: {steps}"
    )


def swap_under_load(
    servers: Pair, folder: Path, kill: tuple[str, str] | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Clients write through the server that serves before; after it they still do."""
    prepared = servers.prepare()
    assert prepared["streaming"]
    assert prepared["cold"] == []
    if kill:
        arm_killer(servers.green, servers.epoch, *kill)
    with writers(servers.lab, servers.blue.address.v4, folder):
        found = servers.swap()
        time.sleep(1)
    told = answers(folder)
    print(kill or "", figures(found, told))
    return found, told


def test_a_swap_loses_nothing_and_fails_nobody(servers: Pair, tmp_path: Path) -> None:
    found, told = swap_under_load(servers, tmp_path)
    assert found["state"] == "swapped", found
    check(servers, found, told)
    assert servers.guard(servers.green) == "following"


def test_killed_in_the_pause_and_back_again(servers: Pair, tmp_path: Path) -> None:
    """The same machine with the roles changed, killed once Postgres of both is read-only."""
    found, told = swap_under_load(servers, tmp_path, ("8 fence", "done"))
    assert found["state"] == "swapped", found
    check(servers, found, told)


@pytest.mark.full
@pytest.mark.parametrize("what", ["begin", "done"])
@pytest.mark.parametrize("step", [step.name for step in TABLE])
def test_killed_at_every_boundary(servers: Pair, tmp_path: Path, step: str, what: str) -> None:
    found, told = swap_under_load(servers, tmp_path, (step, what))
    if found["state"] == "restored":
        assert told["failed"] == []
        assert eventually(lambda: servers.writable() == [servers.blue.name])
        assert set(told["acked"]) <= set(servers.table())
    else:
        assert found["state"] == "swapped", found
        check(servers, found, told)


@pytest.mark.full
def test_ten_swaps_pause_briefly(servers: Pair, tmp_path: Path) -> None:
    pauses, longest = [], []
    for _ in range(10):
        found, told = swap_under_load(servers, tmp_path)
        check(servers, found, told)
        pauses.append(told["pause"])
        longest.append(told["longest"])
    for step, seconds in servers.steps.items():
        print(f"{step:14} {median(seconds) * 1000:8.1f} ms")
    print(f"median pause {median(pauses):.3f} s, longest request {max(longest):.3f} s")
    for machine in (servers.blue, servers.green):
        amcheck = "/usr/lib/postgresql/17/bin/pg_amcheck --all --install-missing --heapallindexed"
        if machine is servers.blue:
            machine.run(f"runuser -u postgres -- {amcheck} --host=/run/postgresql")
    journal = servers.blue.run("cat /var/lib/bakehouse/swap.jsonl").stdout.splitlines()
    assert all(json.loads(line) for line in journal)
    assert servers.blue.run(f"{ADMIN} -c 'SELECT 1'").stdout == "1\n"
    assert PROGRAM

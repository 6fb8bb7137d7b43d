"""A whole swap of two servers with clients at work, killed at every boundary, and back again."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from images.machine import Machine
from images.run import start
from images.server.table import TABLE
from tests.integration.conftest import Describe
from tests.integration.pair import ADMIN, PROGRAM, Pair, answers, pair, writers

pytestmark = pytest.mark.root

GROUP = "/sys/fs/cgroup/system.slice/bakehouse-swap.service"
MIGRATION = """
import os, psycopg
with psycopg.connect(os.environ["DATABASE_URL"], prepare_threshold=None) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS releases (at timestamptz DEFAULT now())")
    connection.execute("INSERT INTO releases DEFAULT VALUES")
"""
CHANGING = """
cd /data/apps/guestbook/uploads
while sleep 0.1; do head -c 3000000 /dev/urandom >.changing; mv .changing changing; done
"""
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
            open(group, "w").write("1")
            sys.exit()
    seen += len(new)
    time.sleep(0.0005)
"""
"""Ends (or freezes) every process of the unit at once when a line stands in the journal."""


@pytest.fixture(scope="module")
def servers(hobby: Describe) -> Iterator[Pair]:
    with pair(hobby) as found:
        yield found


def arm_killer(machine: Machine, epoch: int, step: str, what: str, file: str = "kill") -> None:
    """From now on the unit dies at that line, or is frozen there."""
    words = ["/var/lib/bakehouse/swap.jsonl", f"{GROUP}/cgroup.{file}", str(epoch), step, what]
    machine.run("touch /var/lib/bakehouse/swap.jsonl; cat >/run/killer.py", stdin=KILLER)
    line = shlex.join(["systemd-run", "--quiet", "python3", "/run/killer.py", *words])
    machine.run(line)


def released_by(machine: Machine, command: list[str]) -> str:
    """As if the machine's image gave the guestbook this release command; the facts as they were."""
    before = machine.run("cat /etc/bakehouse/server.json").stdout
    facts = json.loads(before)
    facts["apps"][0]["release"] = command
    machine.run("cat >/etc/bakehouse/server.json", stdin=json.dumps(facts))
    return before


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
    """With more in the last pass over the files than fits into a pipe."""
    blue = servers.blue
    blue.run(f"systemd-run --quiet --unit=changing sh -c {shlex.quote(CHANGING)}")
    try:
        found, told = swap_under_load(servers, tmp_path)
    finally:
        blue.run("systemctl stop changing")
    assert found["state"] == "swapped", found
    check(servers, found, told)
    assert servers.guard(servers.green) == "following"
    log = servers.blue.run("journalctl --unit=bakehouse-swap.service").stdout
    assert "claimed" in log
    assert "rsync error" not in log, "the pass was made twice"


def test_a_server_that_users_left_works_on_its_own_copy_alone(servers: Pair) -> None:
    """Until then its apps work on the new server's database, as requests that it still gets need.
    The next test swaps back to it."""
    left, epoch = servers.green, servers.epoch
    url = "$(sed s/DATABASE_URL=// /run/bakehouse/apps/guestbook.env)"
    standby = f'psql "{url}" -XqAtc "SELECT pg_is_in_recovery()"'
    caddy = "grep GLOBAL /run/caddy/role.env"
    assert left.run(standby).stdout == "f\n"
    assert "local_certs" not in left.run(caddy).stdout
    over = {"do": "drain", "epoch": epoch, "on": False, "over": True}
    told = json.loads(left.run(f"{PROGRAM}.hand", stdin=f"{json.dumps(over)}\n").stdout)
    assert told["ok"], told
    assert left.run(standby).stdout == "t\n"
    assert "local_certs" in left.run(caddy).stdout
    active = left.run("systemctl is-active bakehouse-app@guestbook", check=False)
    assert active.stdout == "inactive\n"
    left.run("systemctl restart bakehouse-databases")  # as at its next reboot
    assert left.run(standby).stdout == "t\n"


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
    assert found["state"] == "swapped", found
    check(servers, found, told)


@pytest.mark.full
@pytest.mark.parametrize("step", ["3 sync", "4 settle", "4 hold"])
def test_frozen_past_the_deadline(servers: Pair, tmp_path: Path, step: str) -> None:
    """Blue's guard goes back to work; when green's unit thaws it gives up, and nobody notices."""
    servers.prepare()
    arm_killer(servers.green, servers.epoch, step, "done", file="freeze")
    with writers(servers.lab, servers.blue.address.v4, tmp_path):
        servers.begin(seconds=12)
        assert eventually(lambda: servers.guard(servers.blue) == "armed")
        back = eventually(lambda: servers.guard(servers.blue) in ("restored", "serving"))
        writable = servers.writable()
        servers.green.run(f"echo 0 >{GROUP}/cgroup.freeze")
        assert back
        assert writable == [servers.blue.name]
        servers.watch()
        time.sleep(1)
    assert servers.status()["state"] == "restored"
    assert servers.guard(servers.green) == "gave-up"
    told = answers(tmp_path)
    assert told["failed"] == []
    assert set(told["acked"]) <= set(servers.table())


@pytest.mark.full
def test_a_release_command_runs_once_before_writes_flow(servers: Pair, tmp_path: Path) -> None:
    facts = released_by(servers.green, ["python3", "-c", MIGRATION])
    try:
        found, told = swap_under_load(servers, tmp_path)
        assert found["state"] == "swapped", found
        check(servers, found, told)
        servers.blue.run("systemctl restart bakehouse-app@guestbook")
        query = f"{ADMIN} guestbook -c 'SELECT count(*) FROM releases'"
        assert servers.blue.run(query).stdout == "1\n"
    finally:
        servers.blue.run("cat >/etc/bakehouse/server.json", stdin=facts)


@pytest.mark.full
def test_a_release_that_fails_loses_nothing(servers: Pair, tmp_path: Path) -> None:
    """Green is switched off, blue goes back to work with all it had; green is made anew later."""
    facts = released_by(servers.green, ["false"])
    servers.prepare()
    with writers(servers.lab, servers.blue.address.v4, tmp_path):
        servers.begin()
        assert servers.watch() == 2
        found = servers.status()
        assert (found["state"], found["unfence"]) == ("stuck", True), found
        servers.green.run("cat >/etc/bakehouse/server.json && sync", stdin=facts)
        servers.green.power_cut()
        servers.blue.run(f"{PROGRAM}.guard restore {servers.epoch} --peer-off")
        time.sleep(2)
    told = answers(tmp_path)
    assert told["failed"] == []
    assert set(told["acked"]) <= set(servers.table())
    servers.green.start()
    servers.green.wait()
    assert eventually(lambda: servers.guard(servers.green) == "gave-up")
    assert servers.writable() == [servers.blue.name]
    found, told = swap_under_load(servers, tmp_path)
    assert found["state"] == "swapped", found
    check(servers, found, told)


@pytest.mark.full
def test_uploads_and_downloads_in_flight_end_well(servers: Pair, tmp_path: Path) -> None:
    """A slow upload that began before the hold ends on blue, and its file is on green."""
    servers.prepare()
    server = f"http://{servers.blue.address.v4}"
    content = os.urandom(3_000_000)
    (tmp_path / "content").write_bytes(content)
    curl = ["curl", "-sS", "--fail", "--limit-rate", "300k"]
    servers.lab.run_client(["curl", "-sS", "-T", f"{tmp_path}/content", f"{server}/files/before"])
    up = start(
        servers.lab.client([*curl, "-T", f"{tmp_path}/content", f"{server}/files/slow"]),
        output=tmp_path / "up",
    )
    down = start(
        servers.lab.client([*curl, "-o", f"{tmp_path}/down", f"{server}/files/before"]),
        output=tmp_path / "errors",
    )
    time.sleep(1)
    found = servers.swap()
    assert found["state"] == "swapped", found
    assert up.popen.wait(60) == 0, (tmp_path / "up").read_text()
    assert down.popen.wait(60) == 0, (tmp_path / "errors").read_text()
    assert (tmp_path / "down").read_bytes() == content
    assert json.loads((tmp_path / "up").read_text())["sha256"] == sha256(content).hexdigest()
    place = "/data/apps/guestbook/uploads"
    wanted = sha256(content).hexdigest()
    sums = f"cd {place} && sha256sum before slow"
    expected = f"{wanted}  before\n{wanted}  slow\n"
    assert eventually(lambda: servers.blue.run(sums, check=False).stdout == expected)


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
    assert median(pauses) <= 0.5
    assert max(longest) <= 1.0
    amcheck = "/usr/lib/postgresql/17/bin/pg_amcheck --all --install-missing --heapallindexed"
    servers.blue.run(f"runuser -u postgres -- {amcheck} --host=/run/postgresql", timeout=300)

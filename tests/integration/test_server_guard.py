"""Two servers that know each other: what the peer may do, and who writes when one falls silent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from images.machine import Machine
from tests.integration.conftest import Describe
from tests.integration.pair import ADMIN, PROGRAM, PSQL, Pair, answers, pair, writers

pytestmark = pytest.mark.root

SSH = "ssh -F /var/lib/bakehouse/peer/ssh_config"
CUT = """
table ip cut
delete table ip cut
table ip cut {
  chain input {
    type filter hook input priority -200; ip saddr %s tcp dport 22 drop;
  }
}
"""


@pytest.fixture(scope="module")
def servers(hobby: Describe) -> Iterator[Pair]:
    with pair(hobby) as found:
        wait_for(lambda: found.green.run(f"{SSH} peer true", check=False).code != 255)
        yield found


def wait_for(so: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.2)


def asked(servers: Pair, *questions: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers of blue's hand to green in one session."""
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    found = servers.green.run(f"{SSH} peer", stdin=lines).stdout.splitlines()
    return [json.loads(line) for line in found]


def boot_of(machine: Machine) -> str:
    return machine.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()


def serves(servers: Pair) -> bool:
    """Blue writes, and an app's way to a write is open."""
    if servers.writable() != [servers.blue.name]:
        return False
    (found,) = asked(servers, {"do": "probe"})
    return bool(found["ok"])


def test_the_tunnel_leads_to_postgres_and_to_the_apps(servers: Pair) -> None:
    there = f"{PSQL} -h /run/bakehouse/peer"
    query = "'dbname=postgres replication=true' -c IDENTIFY_SYSTEM"
    assert servers.green.run(f"{there} -U replicator {query}").stdout.split("|")[1] == "1"
    for role in ("postgres", "replicator"):
        refused = servers.green.run(f"{there} -U {role} postgres -c 'SELECT 1'", check=False)
        assert "FATAL" in refused.stderr
    assert servers.green.run("curl -sf http://127.0.0.1:30001/healthz").code == 0


@pytest.mark.parametrize("target", ["10.88.88.1:6432", "127.0.0.1:22", "127.0.0.1:19999"])
def test_the_peer_reaches_no_other_port(servers: Pair, target: str) -> None:
    done = servers.green.run(f"timeout 10 {SSH} -W {target} peer </dev/null", check=False)
    assert (done.code, done.stdout) == (255, "")


@pytest.mark.parametrize(
    "command",
    [
        "cat /etc/shadow",
        "rsync --server --sender -logDtpre.iLsfxCIvu . /etc/",
        "rsync --server . /",
    ],
)
def test_the_peer_runs_no_other_command(servers: Pair, command: str) -> None:
    done = servers.green.run(f"{SSH} peer {command}", check=False)
    assert "this is not for the peer" in done.stderr
    assert done.stdout == ""


def test_what_does_not_fit_is_refused(servers: Pair) -> None:
    stops = ("arm", "sync_names", "pause", "hold", "stop_postgres", "fence")
    verbs = (*stops, "forward", "follow", "point_pooler")
    words = {"epoch": 1, "seconds": 1, "name": "x", "names": [], "lsn": "0/0", "boot": "x"}
    for answer in asked(servers, *({"do": verb, **words} for verb in verbs)):
        assert answer["ok"] is False
        assert answer["role"]["state"] == "serving"
    assert serves(servers)


def test_a_silent_swap_is_undone_and_no_request_fails(servers: Pair, tmp_path: Path) -> None:
    """Everything that blue does for a swap, up to the fence; then no further word."""
    servers.blue.run(f"{PROGRAM}.guard expect 1")
    with writers(servers.lab, servers.blue.address.v4, tmp_path):
        epoch = {"epoch": 1}
        found = asked(
            servers,
            {"do": "arm", "seconds": 6, **epoch},
            {"do": "stop_workers", **epoch},
            {"do": "hold", **epoch},
            {"do": "checkpoint", **epoch},
            {"do": "pause", "seconds": 5, **epoch},
            {"do": "stop_postgres", "seconds": 10, **epoch},
        )
        print({answer.get("ms") for answer in found})
        assert [answer["ok"] for answer in found] == [True] * 6
        assert servers.writable() == []
        wait_for(lambda: serves(servers))
        wait_for(lambda: servers.guard(servers.blue) == "serving")
    told = answers(tmp_path)
    print(f"longest request {told['longest']:.2f} s")
    assert told["failed"] == []
    assert servers.guard(servers.green) == "gave-up"
    (late,) = asked(servers, {"do": "fence", "lsn": found[-1]["lsn"], "boot": "x", **epoch})
    assert late["ok"] is False


def test_fenced_it_stays_down_until_the_peer_gives_up(servers: Pair) -> None:
    servers.blue.run(f"{PROGRAM}.guard expect 2")
    servers.green.run(f"{PROGRAM}.guard standby 2")
    epoch = {"epoch": 2}
    stopped = asked(
        servers,
        {"do": "arm", "seconds": 60, **epoch},
        {"do": "pause", "seconds": 5, **epoch},
        {"do": "stop_postgres", "seconds": 10, **epoch},
    )
    question = {"do": "fence", "lsn": stopped[-1]["lsn"], "boot": boot_of(servers.green), **epoch}
    (fenced,) = asked(servers, question)
    assert (fenced["ok"], fenced["state"], fenced["postmaster"]) == (True, "fenced", False)
    servers.blue.reboot()
    servers.blue.run("systemctl start postgresql@17-main pgbouncer", check=False)
    time.sleep(3)  # the guard has asked, and green has not given up
    assert servers.guard(servers.blue) == "fenced"
    assert servers.writable() == []
    servers.green.run(f"{PROGRAM}.guard give-up 2")
    wait_for(lambda: serves(servers))
    assert servers.guard(servers.blue) == "serving"


def test_armed_it_stays_down_after_a_reboot_until_the_peer_is_heard(servers: Pair) -> None:
    servers.blue.run(f"{PROGRAM}.guard expect 3")
    servers.green.run(f"{PROGRAM}.guard standby 3")
    assert asked(servers, {"do": "arm", "seconds": 1, "epoch": 3})[0]["ok"]
    servers.green.run("nft -f -", stdin=CUT % servers.blue.address.v4)
    servers.blue.power_cut()
    servers.blue.start()
    servers.blue.wait()
    wait_for(lambda: boot_of(servers.blue) != "")
    servers.blue.run("systemctl start postgresql@17-main pgbouncer", check=False)
    time.sleep(3)  # long past the deadline
    assert servers.guard(servers.blue) == "armed"
    assert servers.writable() == []
    assert servers.blue.run(f"{ADMIN} -c 'SELECT 1'", check=False).code != 0
    servers.green.run("nft delete table ip cut")
    wait_for(lambda: serves(servers))
    assert servers.guard(servers.blue) == "serving"
    assert servers.guard(servers.green) == "gave-up"

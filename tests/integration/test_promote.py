"""The whole chain by the command line: first server, promote, rollback, under load, and killed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from images.providers.base import GENERATION, IMAGE
from images.run import run, start
from tests.integration.deployment import NAME, Deployment, deployed, kill
from tests.integration.faults import FENCED, STOPPED, Case
from tests.integration.playing import play
from tests.load import http2
from tests.load.ledger import counts, read_requests

pytestmark = pytest.mark.root

RATE = 40.0
"""Requests a second."""

SAMPLE = (Case("kill unit", STOPPED), Case("green off", FENCED))


H2C = """
sed -i 's/protocols h1 h2$/protocols h1 h2 h2c/' /etc/caddy/Caddyfile && systemctl reload caddy
"""


@pytest.fixture(scope="module")
def hobby_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("promote")) as found:
        yield found


def test_there_is_only_one_first_time(hobby_cloud: Deployment) -> None:
    told = hobby_cloud.told("promote", "--first", code=1)
    assert "may have data already" in told["error"]
    assert "the floating IP is assigned" in told["error"]


def test_a_dry_run_tells_the_steps_and_changes_nothing(hobby_cloud: Deployment) -> None:
    before = hobby_cloud.servers()
    steps = hobby_cloud.told("promote", "--dry-run", "--image", f"{NAME}@2")["steps"]
    assert len(steps) == 1 + 15
    assert "nothing speaks against it" in steps[2]
    assert hobby_cloud.servers() == before


def test_promote_and_rollback_lose_nothing(hobby_cloud: Deployment) -> None:
    """Users at work all the time; the newest data is there both ways."""
    with hobby_cloud.users(RATE) as books:
        time.sleep(3)
        promoted = hobby_cloud.told("promote", "--image", f"{NAME}@2")
        assert (promoted["generation"], promoted["rolled_back"]) == (2, False)
        assert promoted["write_pause_seconds"] > 0
        back = hobby_cloud.told("rollback")
        assert (back["generation"], back["rolled_back"]) == (1, False)
        time.sleep(2)
    found = counts(read_requests(books))
    assert (found["failed"], found["cut"]) == (0, 0), found
    assert found["requests"] > 10 * RATE
    difference = hobby_cloud.difference(books)
    assert not any((difference.lost, difference.doubled, difference.altered)), difference
    status = hobby_cloud.told("status")
    states = {server["label"]: server["state"] for server in status["servers"]}
    assert states == {"active": "serving", "standby": "following"}
    assert status["lease"]["held"] is False


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_a_sample_of_what_goes_wrong(hobby_cloud: Deployment, case: Case) -> None:
    """`test_promote_faults` has them all."""
    play(hobby_cloud, case)


def test_a_change_by_hand_is_told_as_drift(hobby_cloud: Deployment) -> None:
    active = hobby_cloud.active()

    def drift() -> dict[str, Any]:
        servers = hobby_cloud.told("status")["servers"]
        return next(dict(one["drift"]) for one in servers if one["name"] == active.name)

    none = {"changed": [], "added": [], "removed": [], "total": 0}
    assert drift() == none
    hobby_cloud.shell(active, "echo x >/etc/by-hand; chmod 4755 /usr/bin/nproc")
    found = {**none, "added": ["etc/by-hand"], "changed": ["usr/bin/nproc"], "total": 2}
    assert drift() == found
    assert "+ /etc/by-hand" in hobby_cloud.invoke("status").stdout
    hobby_cloud.shell(active, "rm /etc/by-hand; chmod 755 /usr/bin/nproc")


def test_what_speaks_against_a_promote_is_told(hobby_cloud: Deployment) -> None:
    """By a real Postgres, which would wait for a frozen standby for ever; nothing is begun then."""
    active = hobby_cloud.active()
    psql = "psql --host=/run/postgresql --username=postgres --no-psqlrc --command"
    setting = f"{psql}='ALTER SYSTEM %s' && {psql}='SELECT pg_reload_conf()'"
    hobby_cloud.shell(active, setting % "SET wal_sender_timeout = 0")
    try:
        steps = hobby_cloud.told("promote", "--dry-run", "--image", hobby_cloud.other())["steps"]
        assert "wal_sender_timeout is off" in steps[2]
        refused = hobby_cloud.told("promote", "--image", hobby_cloud.other(), code=1)
        assert "cannot be promoted" in refused["error"]
        assert hobby_cloud.told("status")["lease"]["held"] is False
    finally:
        hobby_cloud.shell(active, setting % "RESET wal_sender_timeout")
    assert hobby_cloud.active() == active


def test_a_generation_that_is_not_well_is_swapped_back_and_marked(
    hobby_cloud: Deployment,
) -> None:
    """Its web server ends once the IP is there: users see nothing but refusals."""
    first, wanted, seen = hobby_cloud.active(), hobby_cloud.other(), len(hobby_cloud.journal())
    process = hobby_cloud.begin("promote", "--image", wanted)
    hobby_cloud.wait_for(seen, "done", 12)
    green = next(server for server in hobby_cloud.servers() if server.labels[IMAGE] == wanted)
    hobby_cloud.shell(green, "systemctl stop caddy")
    assert process.popen.wait(180) == 1, "rolled back is a failure"
    status = hobby_cloud.told("status")
    assert status["lease"]["held"] is False
    states = {server["name"]: server["state"] for server in status["servers"]}
    assert states == {first.name: "serving", green.name: "following"}
    assert status["floating_ip"]["server"] == first.name
    marks = {one["image"]: one["bad"] for one in hobby_cloud.listed()}
    assert marks[first.labels[IMAGE]] is None
    assert "is not well" in marks[wanted]
    again = hobby_cloud.told("promote")
    assert again["generation"] == int(first.labels[GENERATION])
    newer = int(green.labels[GENERATION]) > int(first.labels[GENERATION])
    assert any("is passed over, it is marked bad" in note for note in again["notes"]) == newer
    hobby_cloud.shell(green, "systemctl start caddy")


@contextmanager
def http2_users(place: Deployment, folder: Path) -> Iterator[dict[str, Path]]:
    """Of both families; what they were told, complete in the end, by kind."""
    for server in place.servers():
        place.shell(server, H2C)
    content = folder / "content"
    content.write_bytes(os.urandom(6_000_000))
    ip = place.cloud.floating_ip(NAME)
    run(place.cloud.outside(["curl", "-fsS", "-T", str(content), f"http://{ip.v4}/files/h2"]))
    found, running = {}, []
    for host in (ip.v4, f"[{ip.v6}]"):
        for kind, argv in http2.commands(host, folder, content, "h2", seconds=25).items():
            found[kind] = folder / f"{kind}.told"
            running.append(start(place.cloud.outside(argv), output=found[kind]))
    try:
        yield found
        for process in running:
            process.popen.wait(90)
    finally:
        for process in running:
            process.stop()


@pytest.mark.full
def test_http2_connections_survive(hobby_cloud: Deployment, tmp_path: Path) -> None:
    with http2_users(hobby_cloud, tmp_path) as found:
        time.sleep(1)
        told = hobby_cloud.told("promote", "--image", hobby_cloud.other())
        assert told["rolled_back"] is False
    for kind, file in found.items():
        seen = http2.report(file, 201 if kind.startswith("up") else 200)
        print(kind, seen)
        assert not seen.wrong, kind
        assert 1 <= seen.connections <= 3, kind
        assert seen.requests == (25 * http2.RATE if kind.startswith("small") else 1)
    content = (tmp_path / "content").read_bytes()
    assert all((tmp_path / f"down-{family}").read_bytes() == content for family in ("v4", "v6"))
    sums = "cd /data/apps/guestbook/uploads && sha256sum h2-v4 h2-v6 | cut -d' ' -f1 | uniq"
    wanted = hashlib.sha256(content).hexdigest()
    assert hobby_cloud.shell(hobby_cloud.active(), sums).split() == [wanted]


@pytest.mark.full
def test_rollback_to_a_generation_whose_server_is_gone(hobby_cloud: Deployment) -> None:
    """A new server is made of its image; being marked bad is no hindrance to who names it."""
    active = hobby_cloud.active()
    gone = next(server for server in hobby_cloud.servers() if server.id != active.id)
    hobby_cloud.cloud.delete_server(gone.id)
    back = hobby_cloud.told("rollback", "--to", gone.labels[GENERATION])
    assert back["generation"] == int(gone.labels[GENERATION])
    assert back["server"] not in (active.name, gone.name)
    assert back["rolled_back"] is False


@pytest.mark.full
def test_a_dead_server_is_given_up_in_words_and_fenced_when_it_comes_back(
    hobby_cloud: Deployment,
) -> None:
    dead, ip = hobby_cloud.active(), hobby_cloud.cloud.floating_ip(NAME)
    entry = json.dumps({"name": "last", "text": "the last before the end"})
    post = ["curl", "-fsS", "--json", entry, f"http://{ip.v4}/entries"]
    run(hobby_cloud.cloud.outside(post))
    time.sleep(1)
    hobby_cloud.cloud.power_off(dead.id)
    refused = hobby_cloud.told("promote", code=1)
    assert "--blue-lost" in refused["hint"]
    unsaid = hobby_cloud.told("promote", "--blue-lost", code=2)
    assert "s old: what was written after it is lost" in unsaid["error"]
    few = hobby_cloud.told("promote", "--blue-lost", "--accept-loss", "yes", code=2)
    assert "was not accepted" in few["error"]
    words = "I accept the loss of 3600 seconds"
    told = hobby_cloud.told("promote", "--blue-lost", "--accept-loss", words)
    assert told["server"] != dead.name
    assert any("is kept, switched off" in note for note in told["notes"])
    read = ["curl", "-fsS", f"http://{ip.v4}/entries?limit=10000"]
    assert "the last before the end" in run(hobby_cloud.cloud.outside(read)).stdout
    hobby_cloud.cloud.power_on(dead.id)
    deadline = time.monotonic() + 90
    while (state := hobby_cloud.state(dead.name)) != "fenced":
        assert time.monotonic() < deadline, state
        time.sleep(1)
    status = hobby_cloud.told("status")
    labels = {server["name"]: server["label"] for server in status["servers"]}
    assert labels == {dead.name: "given-up", told["server"]: "active"}
    assert [server["name"] for server in status["servers"] if server["writable"]] == [
        told["server"]
    ]


@pytest.mark.full
@pytest.mark.parametrize(("event", "step"), [("begins", 2), ("green", "6 stop"), ("begins", 12)])
def test_a_killed_operator_is_gone_on_with(
    hobby_cloud: Deployment, event: str, step: object
) -> None:
    seen = len(hobby_cloud.journal())
    wanted = hobby_cloud.other()
    process = hobby_cloud.begin("promote", "--image", wanted)
    hobby_cloud.wait_for(seen, event, step)
    kill(process)
    refused = hobby_cloud.told("promote", "--image", wanted, code=1)
    assert "cut short" in refused["error"]
    hobby_cloud.told("promote", "--resume")
    assert hobby_cloud.other() != wanted
    assert hobby_cloud.told("status")["lease"]["held"] is False
    assert "nothing to resume" in hobby_cloud.told("promote", "--resume")["notes"][0]

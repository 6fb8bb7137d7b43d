"""The load that judges promotes, against one server where nothing happens: nothing may be found.

And what the guestbook must stand for a promote: to start on a database that is still read-only.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images.lab import lab
from images.machine import Description, Machine, booted
from images.run import start
from specs.plan import Role
from tests.load import truth
from tests.load.ledger import counts, read_ledger, read_requests

pytestmark = pytest.mark.root

Describe = Callable[[Role, bool], Description]

SECONDS = 12
"""Longer than a slow transfer."""


@pytest.fixture(scope="module")
def server(hobby: Describe) -> Iterator[Machine]:
    """A first primary with the guestbook running."""
    with lab() as place, booted(place, hobby("primary", True)) as machine:
        assert machine.settle() == "running"
        yield machine


def test_a_server_in_peace_passes(server: Machine, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.load.client", str(tmp_path)]
    addresses = [server.address.v4, server.address.v6]
    users = start(server.lab.client([*words, *addresses]), output=tmp_path / "users.log")
    try:
        time.sleep(SECONDS)
    finally:
        code = users.stop(signal.SIGTERM, patience=60)
    assert code == 0, (tmp_path / "users.log").read_text()
    found = counts(read_requests(tmp_path))
    assert (found["failed"], found["cut"]) == (0, 0), found
    assert found["requests"] > 90 * SECONDS
    assert {"download", "upload", "idle", "file", "fetch"} <= set(found["by_kind"]), found
    assert found["by_connection"]["kept"] > 0.3 * found["requests"]
    assert found["by_family"].keys() == {"IPv4", "IPv6"}
    ledger = read_ledger(tmp_path)
    difference = truth.held_against(ledger, lambda line: server.run(line).stdout)
    assert not any((difference.lost, difference.doubled, difference.altered)), difference
    server.run(
        f"{truth.PSQL} --command='DELETE FROM entries WHERE id = (SELECT min(id) FROM entries)'"
    )
    server.run("rm /data/apps/guestbook/uploads/big-*")
    difference = truth.held_against(ledger, lambda line: server.run(line).stdout)
    assert len(difference.lost) == 3


def test_the_guestbook_starts_read_only_and_writes_once_it_may(server: Machine) -> None:
    """As on a standby that is about to be promoted, whose table came with the data."""
    write_json = json.dumps({"id": "held", "text": "written once it may be"})
    url = f"http://{server.address.v4}"
    read_only(server, True)
    try:
        server.run("systemctl restart bakehouse-app@guestbook")
        assert server.client(["curl", "-fsS", f"{url}/healthz"]).code == 0
        assert "entries" in json.loads(server.client(["curl", "-fsS", f"{url}/entries"]).stdout)
        command = ["curl", "-fsS", "-m", "30", "--json", write_json, f"{url}/entries"]
        writer = start(server.lab.client(command), output=server.folder / "writer.log")
        time.sleep(1)
        assert writer.alive(), "a write waits"
    finally:
        read_only(server, False)
    deadline = time.monotonic() + 30
    while writer.alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert writer.stop() == 0, (server.folder / "writer.log").read_text()
    rows = (
        f"{truth.PSQL} --tuples-only --command=\"SELECT count(*) FROM entries WHERE id = 'held'\""
    )
    assert server.run(rows).stdout.strip() == "1"


def read_only(server: Machine, on: bool) -> None:
    """Let every transaction fail that writes, as in recovery."""
    value = "on" if on else "off"
    server.run(f"{truth.PSQL} --command='ALTER SYSTEM SET default_transaction_read_only = {value}'")
    server.run(f"{truth.PSQL} --command='SELECT pg_reload_conf()'")

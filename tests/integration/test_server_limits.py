"""Two servers whose images allow Postgres different amounts: each follows and replays the other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from images.machine import Machine
from tests.integration.conftest import Describe
from tests.integration.pair import ADMIN, Pair, pair

pytestmark = pytest.mark.root

CONF = "/etc/postgresql/17/main/conf.d/10-image.conf"
POSTGRES = "postgresql@17-main.service"


@pytest.fixture(scope="module")
def servers(hobby: Describe) -> Iterator[Pair]:
    """Blue's image has more workers, green's more connections."""
    with pair(hobby) as found:
        for machine, line in (
            (found.blue, "max_worker_processes = 16\n"),
            (found.green, "max_connections = 200\n"),
        ):
            machine.run(f"cat >{CONF} && chmod 0644 {CONF}", stdin=line)
        found.blue.run(f"systemctl restart {POSTGRES}")
        yield found


def ask(machine: Machine, sql: str, database: str = "postgres") -> str:
    """The administrator's answer."""
    return machine.run(f"{ADMIN} {database}", stdin=sql).stdout.strip()


def limits(machine: Machine) -> tuple[str, str]:
    """The connections and worker processes that Postgres there runs with."""
    return ask(machine, "SHOW max_connections"), ask(machine, "SHOW max_worker_processes")


def swap(servers: Pair) -> None:
    """A swap that ends with a second copy in which a new row can be read."""
    ask(servers.blue, "CREATE TABLE IF NOT EXISTS seen (epoch int)", "guestbook")
    assert servers.prepare()["streaming"]
    found = servers.swap()
    assert (found["state"], found.get("second_copy")) == ("swapped", True), json.dumps(found)
    ask(servers.blue, f"INSERT INTO seen VALUES ({servers.epoch})", "guestbook")
    count = f"SELECT count(*) FROM seen WHERE epoch = {servers.epoch}"
    deadline = time.monotonic() + 20
    while ask(servers.green, count, "guestbook") != "1":
        assert time.monotonic() < deadline, "the second copy does not replay"
        time.sleep(0.2)
    assert ask(servers.green, "SELECT pg_get_wal_replay_pause_state()") == "not paused"


def test_each_follows_the_one_that_allows_more(servers: Pair) -> None:
    swap(servers)
    assert limits(servers.blue) == limits(servers.green) == ("200", "16")
    servers.blue.run(f"systemctl restart {POSTGRES}")
    assert limits(servers.blue) == ("200", "8")  # what its own image says


def test_a_standby_that_was_just_booted_follows_on(servers: Pair) -> None:
    servers.green.run(f"systemctl restart {POSTGRES}")
    assert limits(servers.green) == ("200", "16")


def test_and_back_again(servers: Pair) -> None:
    """Then forth once more, to one whose log has had more than either image allows."""
    swap(servers)
    servers.blue.run(f"systemctl restart {POSTGRES}")
    assert limits(servers.blue) == ("100", "16")
    swap(servers)

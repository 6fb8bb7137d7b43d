"""Scheduled runs by the command line: the real archive, real images, real swaps, users at work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.garbage import collect
from images.gc import find
from images.promote.lease import newest, take
from images.providers.base import IMAGE
from images.providers.keys import GIVEN, operator_key
from tests.integration.deployment import NAME, ROOT, Deployment, kill
from tests.integration.patched import baked, elsewhere, unpatched
from tests.integration.receivers import Inbox, http_receiver
from tests.load.ledger import counts, read_requests

pytestmark = pytest.mark.root

RATE = 40.0
"""Requests a second."""

ANSWER = '''    def answer(self, act: Callable[[str], None]) -> None:
        """Run one request to its answer; errors become answers, too."""
'''
DIES = f"""{ANSWER}        users = self.path != "/healthz"
        self.server.asked = getattr(self.server, "asked", 0) + users
        if self.server.asked > 25:
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "out of everything")
            self.close_connection = True
            return
"""
"""An app that proves itself, and has had enough after 25 requests of its users: a replica has them
well within the confirm time."""


@pytest.fixture(scope="module")
def hook() -> Iterator[Inbox]:
    with http_receiver() as inbox:
        yield inbox


@pytest.fixture(scope="module")
def place(hook: Inbox) -> Iterator[Deployment]:
    """Generation 1 of two serves, and the spec is that of generation 2."""
    with baked(hook.port) as found:
        yield found


def undisturbed(place: Deployment, books: Path) -> None:
    """No request failed, and nothing acknowledged is lost."""
    requests = read_requests(books)
    found = counts(requests)
    wrong = Counter((one.kind, one.status, one.error) for one in requests if one.error)
    assert (found["failed"], found["cut"]) == (0, 0), f"{found}\n{wrong.most_common(12)}"
    difference = place.difference(books)
    assert not any((difference.lost, difference.doubled, difference.altered)), difference
    print(f"requests: {found}")


def test_a_run_that_cannot_or_may_not_says_so_by_its_code(tmp_path: Path) -> None:
    """Those that need no server; `test_year` has all others."""
    machine = Deployment(tmp_path)
    shutil.copytree(ROOT / "specs", machine.spec.parent, ignore=shutil.ignore_patterns("many*"))
    unreachable = "system: {mirror: 'http://127.0.0.1:1/debian'}\n"
    with machine.spec.open("a", encoding="utf-8") as spec:
        spec.write(unreachable)
    machine.home.root.mkdir()
    try:
        failed = machine.told("rebuild", code=1)
        assert (failed["outcome"], failed["ok"]) == ("failed", False)
        assert "127.0.0.1:1" in failed["error"]
        wrong = machine.told("rebuild", "--only", "nginx", code=2)
        assert wrong["outcome"] == "failed"
        assert "the lock has no such package" in wrong["error"]
        lease = take(machine.cloud, f"{NAME}.rebuild", "another-machine", {"verb": "rebuild"})
        refused = machine.told("rebuild", code=3)
        assert "another run holds the lease" in refused["error"]
        lease.release()
    finally:
        collect(find(machine.home, servers=True, everything=True), lambda _: None)


@pytest.mark.full
def test_a_run_that_was_killed_in_the_swap_is_gone_on_with(place: Deployment) -> None:
    seen = len(place.journal())
    with place.users(RATE) as books:
        process = place.begin("rebuild")
        place.wait_for(seen, "green", "6 stop")
        kill(process)
        told = place.told("rebuild")
    assert (told["outcome"], told["serves"]) == ("promoted", 2)
    assert place.told("status")["lease"]["held"] is False
    undisturbed(place, books)


@pytest.mark.full
def test_two_runs_never_overlap(place: Deployment) -> None:
    """Neither on one machine nor on two: the lease is at the provider."""
    last = newest(place.cloud, f"{NAME}.rebuild")
    with elsewhere(place) as other:
        process = place.begin("rebuild")
        while newest(place.cloud, f"{NAME}.rebuild") == last:
            assert process.alive()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGSTOP)
        for machine in (place, other):
            told = machine.told("rebuild", code=3)
            assert told["outcome"] == "refused"
            assert "another run holds the lease" in told["error"]
        os.killpg(process.pid, signal.SIGCONT)
        assert process.wait() == 0


@pytest.mark.full
def test_an_update_that_dies_under_traffic_is_swapped_back(
    place: Deployment, hook: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a runner that keeps nothing: what it has to go back to it learns from the servers."""
    if place.active().labels["generation"] == "1":  # alone, without the tests before
        place.told("promote")
    serves = int(place.active().labels["generation"])
    server = place.spec.parent / "guestbook/guestbook/server.py"
    text = server.read_text()
    assert ANSWER in text
    server.write_text(text.replace(ANSWER, DIES))
    monkeypatch.setenv(GIVEN, operator_key(place.home).private.read_text())
    with elsewhere(place) as runner:
        with place.users(RATE) as books:
            told = runner.told("rebuild", code=4)
        print(json.dumps(told, indent=1))
    assert (told["outcome"], told["serves"]) == ("rolled-back", serves)
    assert told["generation"] == serves + 1
    assert hook.titles()[-1].startswith(f"hobby: generation {serves + 1} was bad in use")
    difference = place.difference(books)
    assert not any((difference.lost, difference.altered)), difference
    again = place.told("rebuild", code=3)
    assert (again["outcome"], again["image"]) == ("refused", told["image"])
    assert "another machine marked it bad" in again["error"]
    assert place.active().labels["generation"] == str(serves)


@pytest.mark.full
def test_the_updates_since_the_release_come_under_load(hook: Inbox) -> None:
    """From an old lock, on the real archive, with nothing made before."""
    with unpatched(hook.port) as place:
        updated(place, hook)


def updated(place: Deployment, hook: Inbox) -> None:
    """One run that brings the updates, one that finds nothing."""
    with place.users(RATE) as books:
        told = place.told("rebuild")
    print(json.dumps(told, indent=1))
    assert (told["outcome"], told["generation"], told["serves"]) == ("promoted", 2, 2)
    assert any("postgresql-17 " in line for line in told["changes"])
    assert told["fixes"]
    assert told["write_pause_seconds"] > 0
    assert place.active().labels[IMAGE] == told["image"]
    assert hook.titles()[-1].startswith("hobby: generation 2 serves, closes ")
    undisturbed(place, books)
    again = place.told("rebuild")
    print(json.dumps(again, indent=1))
    assert (again["outcome"], again["serves"]) == ("nothing-to-do", 2)

"""One fault played to its end: what happens, what a person does then, and what must be so."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from images.promote.job import ACTIVE, GIVEN_UP
from images.providers.base import IMAGE, ROLE
from tests.integration.deployment import Deployment
from tests.integration.faults import PROMOTED, Case, begin
from tests.integration.happenings import HAPPENINGS
from tests.integration.scene import begun
from tests.integration.witness import CHECK, commits_past, forks, witnessed
from tests.load.ledger import read_ledger

RATE: Final = 10.0
"""Requests a second: what is acknowledged is what matters here, not how fast."""

ATTEMPTS: Final = 4
"""How often a person may have to say `--resume`."""

UNHARMED: Final = ("kill unit", "two at once", "IP call fails", "IP call answers late")
"""What must not keep the run itself from its end."""

GOES_ON: Final = (
    "kill operator",
    "kill operator, green off",
    "kill two operators",
    "stop the operator",
)
"""What must end forward, once somebody says `--resume`."""

FORWARD: Final = (Case("blue off", begin("8 fence")), Case("blue off", PROMOTED))
"""So must these, though blue is dead: green has all of it."""


def play(place: Deployment, case: Case) -> None:
    """One case, from a pair at rest to a pair at rest."""
    before = place.active()
    lines = len(forks(place, before))
    with place.users(RATE, slow=False) as books, witnessed(place) as witness:
        scene = begun(place, case.fresh)
        with ExitStack() as happening, scene.at(case.at):
            happening.enter_context(contextmanager(HAPPENINGS[case.what])(scene))
        code = scene.process.popen.wait(300)
        said = last_word(place.log)
        for act in scene.after:
            act()
        truthful(place, code, said, scene.wanted)
        resumed = converge(place)
        time.sleep(0.5)
    assert witness.doubles == []
    assert witness.looks > 50
    assert len(read_ledger(books)) > 0
    difference = place.difference(books)
    assert not any((difference.lost, difference.doubled, difference.altered)), difference
    active = place.active()
    if case.what in UNHARMED:
        assert (code, resumed) == (0, 0), said
    if case.what in GOES_ON or case in FORWARD:
        assert active.labels[IMAGE] == scene.wanted
    for fork in forks(place, active)[lines:]:
        for server in place.servers():
            if server.id != active.id and server.status == "running":
                assert not commits_past(place, server, fork), server.name


def truthful(place: Deployment, code: int, said: dict[str, Any], wanted: str) -> None:
    """The exit code and the last line say what is."""
    if code == 0:
        assert said["rolled_back"] is False, said
        assert place.active().labels[IMAGE] == wanted, said
    elif code > 0:
        assert code == 1, said
        assert said["error"], said
        if said.get("rolled_back"):
            assert place.active().labels[IMAGE] != wanted, said


def last_word(log: Path) -> dict[str, Any]:
    """The last line of JSON that a run has printed; empty when it was killed before."""
    lines = [line for line in log.read_text().splitlines() if line.startswith("{")]
    return dict(json.loads(lines[-1])) if lines else {}


def converge(place: Deployment) -> int:
    """What a person does: servers back on, and `--resume` until nothing is left to do; how often
    that took."""
    for attempt in range(ATTEMPTS + 1):
        for server in place.servers():
            if server.status == "off" and server.labels[ROLE] != GIVEN_UP:
                place.cloud.power_on(server.id)
        status = place.invoke("status", "--json", check=False)
        if status.code == 0 and at_rest(json.loads(status.stdout.splitlines()[-1])):
            return attempt
        place.invoke("promote", "--resume", "--json", check=False)
    raise AssertionError(status.stdout + status.stderr)


def at_rest(status: dict[str, Any]) -> bool:
    """Nobody holds the lease, and one server serves, for good, which is the one labelled so."""
    working = [server for server in status["servers"] if server["state"] in ("serving", "restored")]
    found = [(server["state"], server["label"]) for server in working]
    return status["lease"]["held"] is False and found == [("serving", ACTIVE)]


def sound(place: Deployment) -> None:
    """No index of the server that serves lacks anything, no page is damaged."""
    place.shell(place.active(), CHECK)

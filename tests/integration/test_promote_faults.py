"""What goes wrong in the middle of a promote; after each case everything is still there.

    pytest --full tests/integration/test_promote_faults.py
    BAKEHOUSE_FAULT_SEED=7 pytest tests/integration/test_promote_faults.py -k random

Each case promotes the image that does not serve, lets something happen at one line of a journal,
and then only runs `promote --resume`, as the documentation says. It begins with what the case
before it left, so each case's promote proves the one before; after a failure all is made anew.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from images.promote.job import ACTIVE, GIVEN_UP
from images.providers.base import IMAGE, ROLE
from specs.errors import BakehouseError
from tests.integration.deployment import Deployment, deployed
from tests.integration.faults import (
    CASES,
    FENCED,
    HAPPENINGS,
    OPERATOR,
    STOPPED,
    UNIT_MOMENTS,
    Case,
    begun,
)
from tests.integration.witness import CHECK, commits_past, forks, gather, witnessed
from tests.load.ledger import read_ledger

pytestmark = [pytest.mark.root, pytest.mark.full]

RATE: Final = 10.0
"""Requests a second: what is acknowledged is what matters here, not how fast."""

ATTEMPTS: Final = 4
"""How often a person may have to say `--resume`."""

CHECK_EVERY: Final = 8
"""Cases from one `pg_amcheck` to the next."""

SAMPLE: Final = [Case("kill unit", STOPPED), Case("green off", FENCED)]
UNHARMED: Final = ("kill unit", "two at once", "IP call fails", "IP call answers late")
"""What must not keep the run itself from its end."""

GOES_ON: Final = ("kill operator", "kill two operators", "stop the operator")
"""What must end forward, once somebody says `--resume`."""


@dataclass(slots=True)
class Stage:
    """A deployment that is at rest between two cases, made anew when a case has spoilt it."""

    folder: Path
    standing: ExitStack = field(default_factory=ExitStack)
    place: Deployment | None = None
    played: int = 0
    made: int = 0

    def at_rest(self) -> Deployment:
        """One server serves, another one follows it, and nobody works on them."""
        if self.place is None:
            self.made += 1
            folder = self.folder / str(self.made)
            folder.mkdir()
            self.place = self.standing.enter_context(deployed(folder, "{confirm: 1, drain: 4}"))
            self.place.told("promote", "--image", self.place.other())
        return self.place

    @contextmanager
    def case(self, name: str) -> Iterator[Deployment]:
        """For one case; what fails in it spoils the scene, and leaves what everybody wrote down."""
        place = self.at_rest()
        try:
            yield place
            self.played += 1
            if self.played % CHECK_EVERY == 0:
                sound(place)
        except BaseException:
            with suppress(BakehouseError):
                gather(place, self.folder / "evidence" / f"{self.played}-{name}")
            self.clear()
            raise

    def clear(self) -> None:
        """Nothing stands any more."""
        self.place = None
        self.standing.close()
        shutil.rmtree(self.folder / str(self.made), ignore_errors=True)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    found = Stage(tmp_path_factory.mktemp("faults"))
    try:
        yield found
    finally:
        found.standing.close()


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
    if case.what in GOES_ON:
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
    """Nobody holds the lease, and one server serves, which is the one that is labelled so."""
    serving = [server for server in status["servers"] if server["state"] in ("serving", "restored")]
    labels = [server["label"] for server in serving]
    return status["lease"]["held"] is False and labels == [ACTIVE]


def sound(place: Deployment) -> None:
    """No index of the server that serves lacks anything, no page is damaged."""
    place.shell(place.active(), CHECK)


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_a_sample(stage: Stage, case: Case) -> None:
    with stage.case(case.name) as place:
        play(place, case)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_fault(stage: Stage, case: Case) -> None:
    with stage.case(case.name) as place:
        play(place, case)


def test_a_random_fault(stage: Stage) -> None:
    seed = int(os.environ.get("BAKEHOUSE_FAULT_SEED") or time.time_ns() % 1_000_000)
    print(f"BAKEHOUSE_FAULT_SEED={seed}")
    chooser = random.Random(seed)
    at = chooser.choice([*OPERATOR, *UNIT_MOMENTS])
    case = Case(chooser.choice(sorted(HAPPENINGS)), at)
    with stage.case(f"random-{seed}") as place:
        play(place, case)


def test_the_next_promote_works_and_all_is_sound(stage: Stage) -> None:
    with stage.case("the-end") as place:
        assert place.told("promote", "--image", place.other())["rolled_back"] is False
        sound(place)


def test_the_table_is_large_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80
    assert {case.what for case in CASES} == set(HAPPENINGS)

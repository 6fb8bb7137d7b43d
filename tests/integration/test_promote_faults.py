"""What goes wrong in the middle of a promote; after each case everything is still there.

    pytest --full tests/integration/test_promote_faults.py
    BAKEHOUSE_FAULT_SEED=7 pytest tests/integration/test_promote_faults.py -k random

Each case promotes the image that does not serve, lets something happen at one line of a journal,
and then only runs `promote --resume`, as the documentation says. It begins with what the case
before it left, so each case's promote proves the one before; after a failure all is made anew.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from images.run import run
from specs.errors import BakehouseError
from tests.integration.deployment import Deployment, deployed
from tests.integration.faults import CASES, OPERATOR, SYNC, UNIT_MOMENTS, Case
from tests.integration.happenings import HAPPENINGS
from tests.integration.playing import play, sound
from tests.integration.witness import await_answer, gather

pytestmark = [pytest.mark.root, pytest.mark.full]

CHECK_EVERY: Final = 8
"""Cases from one `pg_amcheck` to the next."""

BACK: Final = 120.0
"""Seconds that a server which booted may take until its app answers."""


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


def test_who_went_back_to_work_does_so_after_a_reboot_too(stage: Stage) -> None:
    """Green is gone for good, and nobody else could be asked whether it took over."""
    with stage.case("reboot") as place:
        play(place, Case("green off", SYNC, fresh=True))
        (blue,) = place.servers()
        place.cloud.power_off(blue.id)
        place.cloud.power_on(blue.id)
        await_answer(place, blue)
        ask = ["curl", "-sf", f"http://{place.cloud.floating_ip(place.name).v4}/healthz"]
        deadline = time.monotonic() + BACK
        while run(place.cloud.outside(ask), check=False).code != 0:
            assert time.monotonic() < deadline, "it does not serve again"
            time.sleep(1)
        assert place.told("promote", "--image", place.other())["rolled_back"] is False


def test_the_next_promote_works_and_all_is_sound(stage: Stage) -> None:
    with stage.case("the-end") as place:
        assert place.told("promote", "--image", place.other())["rolled_back"] is False
        sound(place)


def test_the_table_is_large_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80
    assert {case.what for case in CASES} == set(HAPPENINGS)

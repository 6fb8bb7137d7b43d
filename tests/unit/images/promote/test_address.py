"""The floating IP is looked at before anything is changed: whether it is there, and blue has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from images.progress import Progress
from images.promote import stateless, steps
from images.promote.blue_lost import blue_lost
from images.promote.goal import Goal
from images.promote.job import ACTIVE, STANDBY
from images.promote.promote import take
from images.promote.runs import Run, leased
from images.promote.status import plan_lines
from images.promote.steps import PreflightError
from images.providers.base import Server
from specs.errors import BakehouseError
from specs.model import Strategy
from tests.unit.images.promote.placed import NEW, Place, begun, deployed
from tests.unit.images.promote.test_preflight import facts


@pytest.fixture
def site(tmp_path: Path) -> Place:
    return deployed(tmp_path)


def serving(site: Place) -> Server:
    """Blue, against which nothing else speaks."""
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    site.told[blue.name] = facts()
    return blue


def renamed(site: Place, name: str) -> Place:
    """The same deployment, whose spec names another floating IP now."""
    return replace(
        site, spec=replace(site.spec, deploy=replace(site.spec.deploy, floating_ip=name))
    )


@contextmanager
def promoting(site: Place, blue: Server, strategy: Strategy = "replica") -> Iterator[Run]:
    goal = Goal(site.job(strategy), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        yield begun(site, goal, lease)


def test_where_blue_has_the_address_nothing_speaks_against_it(site: Place) -> None:
    blue = serving(site)
    site.provider.assign("hobby", blue.id)
    with promoting(site, blue) as run:
        assert steps.preflight_probe(run).said == "nothing speaks against it"


def test_a_name_that_no_floating_ip_has_is_refused(site: Place) -> None:
    blue = serving(site)
    site.provider.assign("hobby", blue.id)
    with promoting(renamed(site, "web"), blue) as run:
        with pytest.raises(PreflightError, match="there is no floating IP web") as refused:
            take(run, steps.STEPS[1])
        assert "put the old name back" in refused.value.message
        assert refused.value.hint == "nothing was changed"
    assert any(
        "no floating IP web" in line for line in plan_lines(renamed(site, "web").job(), Progress())
    )


def test_an_address_that_another_server_has_is_refused(site: Place) -> None:
    blue = serving(site)
    other = site.add(2, NEW.id, STANDBY, 1, "following")
    with promoting(site, blue) as run:
        assert f"is at no server and not at {blue.name}" in steps.preflight_probe(run).said
        site.provider.assign("hobby", other.id)
        assert f"is at {other.name} and not at {blue.name}" in steps.preflight_probe(run).said


@pytest.mark.parametrize("strategy", ["none", "volume"])
def test_it_is_so_too_where_nothing_is_copied(site: Place, strategy: Strategy) -> None:
    blue = serving(site)
    with promoting(renamed(site, "web"), blue, strategy) as run:
        assert "there is no floating IP web" in stateless.preflight_probe(run).said


def test_an_address_that_a_run_has_moved_is_no_hindrance(site: Place) -> None:
    """It was cut short after step 12: blue follows, and users reach green."""
    blue = site.add(1, "hobby-000000000001", STANDBY, 7, "following")
    made = site.add(2, NEW.id, ACTIVE, 7, "serving")
    site.provider.assign("hobby", made.id)
    with promoting(site, blue) as run:
        run.swapped = True
        assert steps.preflight_probe(run).done
    site.roles[blue.name] = ("retired", 7)
    with promoting(site, blue, "none") as run:
        assert stateless.preflight_probe(run).done


def test_a_dead_server_is_not_given_up_for_an_address_that_is_not_there(site: Place) -> None:
    """One that it still holds, or that nobody does, is taken from it as ever."""
    dead = serving(site)
    site.provider.power_off(dead.id)
    with pytest.raises(BakehouseError, match="there is no floating IP web"):
        blue_lost(renamed(site, "web"), Progress(), "", lambda *_: "")
    with pytest.raises(BakehouseError, match="is not known in"):  # the next that is looked at
        blue_lost(site, Progress(), "", lambda *_: "")

"""A green that is not well is swapped back; and what is said when that, too, is given up."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from images import store, stored_plan
from images.home import write_whole
from images.marks import bad
from images.promote import green as greens
from images.promote import watching
from images.promote.ending import UnhealthyError
from images.promote.goal import Goal
from images.promote.job import ACTIVE, STANDBY, Job
from images.promote.lease import newest
from images.promote.promote import back, secrets_again
from images.promote.reach import last_line
from images.promote.runs import leased
from images.providers.base import Server
from images.server import guard
from specs.errors import BakehouseError
from specs.plan import resolve
from tests.unit.images.promote.placed import HOBBY, NEW, Place, begun, deployed

OLD = replace(NEW, id="hobby-000000000001")
HEALTHY: dict[str, Any] = {
    "architecture": "x86_64",
    "files": 2_000_000_000,
    "postgres": {
        "settings": {"server_version_num": "170006"},
        "in_recovery": False,
        "longest": 0.4,
        "prepared": 0,
        "archive_backlog": 0,
        "collations": [],
        "past_pooler": [],
        "pooling": "transaction",
    },
}
"""What the hand says of a server whose data may be moved."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A deployment whose home knows the image that served before."""
    place = deployed(tmp_path)
    folder = place.home.images / OLD.id
    write_whole(folder / "plan.json", stored_plan.dump(resolve(HOBBY, None, ())))
    write_whole(folder / "report.json", json.dumps({"passed": True}))
    write_whole(folder / store.RECORD, json.dumps(asdict(OLD)))
    store.keep_generation(place.home, store.Generation("hobby", 1, OLD.id, ""))
    monkeypatch.setattr(Job, "secrets", lambda _: {})
    return place


def swapped(site: Place) -> tuple[Server, Server]:
    """Blue, which follows and is to take over in the next epoch, and green, which serves."""
    blue = site.add(1, OLD.id, STANDBY, 1, "standby")
    green = site.add(2, NEW.id, ACTIVE, 1, "serving")
    site.roles[blue.name] = ("standby", 2)
    site.provider.assign("hobby", green.id)
    site.told[green.name] = HEALTHY
    site.rows.append({"application_name": "bakehouse", "state": "streaming"})
    return blue, green


def test_it_is_not_said_that_blue_serves_again_when_it_does_not(site: Place) -> None:
    """Its log stood still, say: that swap was given up as well, and the bad green serves on."""
    blue, green = swapped(site)
    site.swap.update(state="restored", epoch=2, error="7 replayed: not after 5 s")
    goal = Goal(site.job(), blue.name, green.id)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        with pytest.raises(BakehouseError, match=r"shop is silent.*7 replayed") as raised:
            back(run, UnhealthyError("shop is silent"))
    assert f"{green.name} serves on" in raised.value.hint
    assert bad(site.home, site.provider, "hobby", NEW.id)
    assert [one.id for one in site.provider.servers("hobby")] == [blue.id, green.id]
    claim = newest(site.provider, "hobby")
    assert claim is not None and not claim.held


OLDER = (
    "usage: guard [-h] {status,boot} ...\n"
    "guard: error: argument verb: invalid choice: 'expect' (choose from 'status', 'boot')\n"
)
"""How a guard says that it has no such verb."""


def test_a_guard_names_a_verb_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        guard.parser().parse_args(["expected", "7"])
    said = last_line(capsys.readouterr().err)
    assert greens.UNKNOWN.replace("expect", "expected") in said
    assert greens.UNKNOWN in last_line(OLDER)


def started(site: Place, epoch: int = 1) -> tuple[str, str]:
    """What was said to blue and green in a swap of the epoch that is next, which swaps."""
    blue = site.add(1, OLD.id, ACTIVE, 1, "serving")
    green = site.add(2, NEW.id, STANDBY, 3, "standby")
    goal = Goal(site.job(), blue.name, green.id)
    with leased(site, goal.labels()) as (lease, _):
        assert lease.epoch == epoch
        site.swap["state"] = "none"
        run = begun(site, goal, lease)
        with suppress(BakehouseError):
            watching.swap(run)
        lease.release()
    return blue.name, green.name


def test_blue_is_told_of_the_epoch_before_green_begins(site: Place) -> None:
    blue, green = started(site)
    assert site.done == [f"{blue}: guard expect 1", f"{green}: swap start"]


def test_a_blue_of_an_older_image_is_swapped_all_the_same(site: Place) -> None:
    site.unheard["hobby-g1-e1"] = OLDER
    _, green = started(site)
    assert f"{green}: swap start" in site.done


@pytest.mark.parametrize("words", ["<3>OSError: No space left", "guard: error: expect", ""])
def test_a_blue_that_cannot_be_told_serves_on(site: Place, words: str) -> None:
    blue = site.add(1, OLD.id, ACTIVE, 1, "serving")
    green = site.add(2, NEW.id, STANDBY, 3, "standby")
    site.unheard[blue.name] = words
    goal = Goal(site.job(), blue.name, green.id)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        with pytest.raises(watching.RestoredError, match="could not be told of the swap"):
            watching.swap(run)
        assert site.done == [f"{blue.name}: guard expect 1"]
        greens.drop(run)
        lease.release()
    assert site.done.count(f"{blue.name}: guard expect 0") == 1
    assert not any("start" in line for line in site.done)


def test_in_a_roll_back_the_server_that_is_not_well_is_told(site: Place) -> None:
    """The roles are exchanged: it is the one that is armed, in the new epoch."""
    blue, green = swapped(site)
    site.swap.update(state="none", epoch=None)
    goal = Goal(site.job(), blue.name, green.id)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        with pytest.raises(BakehouseError):
            back(run, UnhealthyError("shop is silent"))
    told = [line for line in site.done if "expect" in line or "start" in line]
    assert told[:2] == [f"{green.name}: guard expect 2", f"{blue.name}: swap start"]


def test_a_way_back_does_not_end_at_a_secret_that_is_gone(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that served before keeps those it has; a new one could not be given them."""

    def gone(_: Job) -> dict[str, str]:
        raise BakehouseError("stripe-key is nowhere", "")

    blue, _ = swapped(site)
    site.swap.update(state="none", epoch=None)
    goal = Goal(site.job(), blue.name, "")
    monkeypatch.setattr(Job, "secrets", gone)
    with leased(site, goal.labels()) as (lease, _log):
        run = begun(site, goal, lease)
        assert secrets_again(run, replace(goal, green=blue.id)) is None
        assert "keeps the secrets that its server has: stripe-key" in run.notes[-1]
        with pytest.raises(BakehouseError, match="nowhere"):
            secrets_again(run, goal)
        lease.release()

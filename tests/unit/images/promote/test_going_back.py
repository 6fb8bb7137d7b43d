"""A green that is not well is swapped back; and what is said when that, too, is given up."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from images import store, stored_plan
from images.home import write_whole
from images.marks import bad
from images.promote.ending import UnhealthyError
from images.promote.goal import Goal
from images.promote.job import ACTIVE, STANDBY, Job
from images.promote.lease import newest
from images.promote.promote import back
from images.promote.runs import leased
from images.providers.base import Server
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

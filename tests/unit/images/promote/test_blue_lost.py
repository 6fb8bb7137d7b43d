"""A dead server's place is taken from a machine that baked nothing: those that are left tell."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest

from images.progress import Progress
from images.promote.blue_lost import blue_lost
from images.promote.job import ACTIVE, GIVEN_UP, STANDBY
from images.promote.lease import newest
from images.promote.reach import LockedOutError, RefusedError
from images.providers.base import Server
from specs.errors import BakehouseError
from specs.model import Strategy
from tests.unit.images.promote.placed import NEW, Place, deployed, recorded

DEAD = "hobby-000000000001"
WORDS = "I accept an unknown loss"


@pytest.fixture
def site(tmp_path: Path) -> Place:
    """Generation 1 served and is off; this machine's home is empty."""
    place = deployed(tmp_path)
    dead = place.add(1, DEAD, ACTIVE, 1, "serving")
    place.provider.power_off(dead.id)
    return place


def heir(site: Place, strategy: Strategy = "replica") -> Server:
    """A server that follows, and tells of its image what was left with it."""
    made = site.add(2, NEW.id, STANDBY, 3, "following")
    site.records[made.name] = recorded(NEW.id, strategy)
    return made


def unasked(*_: str) -> NoReturn:
    raise AssertionError("nobody is to be asked")


def test_a_machine_that_baked_nothing_lets_the_standby_take_over(site: Place) -> None:
    takes = heir(site)
    with pytest.raises(RefusedError, match="users cannot be asked"):
        blue_lost(site, Progress(), WORDS, unasked)
    assert [line for line in site.done if "alone" in line] == [f"{takes.name}: swap alone"]


def test_a_standby_that_kept_no_record_is_named_before_anybody_is_asked(site: Place) -> None:
    made = heir(site)
    site.records.clear()
    site.told[made.name] = {"strategy": "replica"}
    with pytest.raises(BakehouseError, match=rf"hobby@2 \({NEW.id}\), which {made.name}") as raised:
        blue_lost(site, Progress(), "", unasked)
    assert "machine that baked it" in raised.value.hint
    assert newest(site.provider, "hobby") is None


@pytest.mark.parametrize("strategy", ["none", "volume"])
@pytest.mark.parametrize("by", ["hello", "record"])
def test_where_a_new_server_is_made_the_missing_image_is_told(
    site: Place, strategy: Strategy, by: str
) -> None:
    other = heir(site, strategy)
    if by == "hello":
        site.records.clear()
        site.told[other.name] = {"strategy": strategy}
    with pytest.raises(BakehouseError, match=rf"record .* of hobby@1 \({DEAD}\)") as raised:
        blue_lost(site, Progress(), "", unasked)
    assert "machine that baked it" in raised.value.hint
    assert newest(site.provider, "hobby") is None


def test_where_nobody_tells_that_is_said(site: Place) -> None:
    given_up = site.add(7, "hobby-000000000007", GIVEN_UP, 1, "fenced")
    site.told[given_up.name] = {"strategy": "none"}  # of an earlier deployment, perhaps
    with pytest.raises(BakehouseError, match=rf"hobby@1 \({DEAD}\).*no server of hobby") as raised:
        blue_lost(site, Progress(), "", unasked)
    assert "backup" in raised.value.hint


def test_a_server_that_does_not_let_us_in_is_not_dead(site: Place) -> None:
    site.provider.power_on(site.provider.servers("hobby")[0].id)
    heir(site)
    site.locked.add("hobby-g1-e1")
    with pytest.raises(LockedOutError, match="does not let this machine's key in") as raised:
        blue_lost(site, Progress(), WORDS, unasked)
    assert "Another machine" in raised.value.hint
    assert newest(site.provider, "hobby") is None
    assert site.provider.servers("hobby")[0].status == "running"

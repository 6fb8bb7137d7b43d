"""Where nothing is copied: the volume is at one server at a time, and a way back leads back."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.promote import moving, stateless, volume
from images.promote.goal import Goal
from images.promote.job import ACTIVE, GIVEN_UP, STANDBY
from images.promote.lease import newest
from images.promote.observe import look
from images.promote.promote import restored
from images.promote.reach import RefusedError
from images.promote.runs import leased
from images.promote.status import lines
from images.promote.watching import RestoredError
from images.providers.base import ROLE, SPEC, Server
from specs.model import Strategy
from tests.unit.images.promote.placed import NEW, Answering, Place, Powering, begun, deployed


@pytest.fixture
def site(tmp_path: Path) -> Place:
    return deployed(tmp_path)


def moving_volume(site: Place, states: tuple[str, str], holder: int) -> tuple[Server, Server]:
    """Blue and green in these states, and which of them (2: neither) has the volume."""
    pair = (
        site.add(1, "hobby-000000000001", ACTIVE, 1, states[0]),
        site.add(2, NEW.id, STANDBY, 7, states[1]),
    )
    site.provider.create_volume("hobby-data", volume.SIZE, {SPEC: "hobby"})
    if holder < 2:
        site.provider.attach("hobby-data", pair[holder].id)
    return pair


def test_a_volume_that_no_server_has_is_gone_on_with(site: Place) -> None:
    blue, made = moving_volume(site, ("fenced", "standby"), 2)
    assert "  hobby-data  10 GiB, at no server" in lines(look(site))
    goal = Goal(site.job("volume"), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        stateless.catch_up(run, goal)
        assert stateless.preflight_probe(run).done  # what blue would say now counts no more
        assert volume.free_probe(run).done
        assert not stateless.serving_probe(run).done
        volume.serve(run)
    assert volume.found(site).server == made.id
    assert f"  hobby-data  10 GiB, at {made.name}" in lines(look(site))
    assert f"{made.name}: volume take 1 /dev/hobby-data" in site.done


def test_a_way_back_that_was_cut_short_leads_back(site: Place) -> None:
    """Green had even got the volume, and may have written."""
    blue, _ = moving_volume(site, ("fenced", "serving"), 1)
    goal = Goal(site.job("volume"), blue.name, begun=7, over=True)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        with pytest.raises(RestoredError) as given_up:
            stateless.catch_up(run, goal)
        ended = restored(run, given_up.value)
        assert (ended.rolled_back, ended.server) == (True, blue.name)
    assert volume.found(site).server == blue.id
    assert f"{blue.name}: volume take 1 /dev/hobby-data" in site.done
    assert [one.name for one in site.provider.servers("hobby")] == [blue.name]
    claim = newest(site.provider, "hobby")
    assert claim is not None and not claim.held


def test_a_silent_blue_is_switched_off_before_its_volume_goes(site: Place) -> None:
    blue, _ = moving_volume(site, ("serving", "standby"), 0)
    goal = Goal(site.job("volume"), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        assert not stateless.begun(run)
        del site.roles[blue.name]
        volume.free(run)
        moving.mark(run)
    (off, _) = site.provider.servers("hobby")
    assert (off.status, off.labels[ROLE]) == ("off", GIVEN_UP)
    assert volume.found(site).server == ""


@pytest.mark.parametrize("strategy", ["volume", "none"])
def test_a_blue_that_does_not_let_us_in_is_not_switched_off(
    site: Place, strategy: Strategy
) -> None:
    """It may work, and so the swap is called off instead."""
    blue, _ = moving_volume(site, ("serving", "standby"), 0)
    goal = Goal(site.job(strategy), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        site.locked.add(blue.name)
        with pytest.raises(RestoredError, match="does not let this machine's key in"):
            (volume.free if strategy == "volume" else stateless.retire)(run)
        assert lease.claim.goal["over"] == "1"
    assert [one.status for one in site.provider.servers("hobby")] == ["running", "running"]
    assert volume.found(site).server == blue.id


@pytest.mark.parametrize("step", ["release", "detach", "attach"])
def test_the_lease_says_so_before_anything_goes_back(
    site: Place, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blue, _ = moving_volume(site, ("serving", "standby"), 0)
    goal = Goal(site.job("volume"), blue.name, begun=7)

    def refuse(*_: object, **__: object) -> None:
        raise RefusedError(f"{step}: no", "")

    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        monkeypatch.setattr(moving, "PAUSE", 0.0)
        if step == "release":
            monkeypatch.setattr(Answering, "program", refuse)
        else:
            monkeypatch.setattr(Powering, step, refuse)
        with pytest.raises(RestoredError, match=f"{step}: no"):
            volume.free(run)
            volume.serve(run)
        assert lease.claim.goal["over"] == "1"

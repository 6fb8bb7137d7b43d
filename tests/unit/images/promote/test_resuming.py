"""Going on with what was begun: which server the goal means, and what is never given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.marks import bad
from images.progress import Progress
from images.promote import blue_lost, green, moving, records, watching
from images.promote.goal import OVER, Goal
from images.promote.job import ACTIVE, GIVEN_UP, STANDBY, Job, labels
from images.promote.lease import LostLeaseError, newest
from images.promote.observe import look
from images.promote.promote import call_off, restored, resume, tell_bad
from images.promote.reach import LockedOutError, RefusedError
from images.promote.runs import leased
from images.promote.watching import RestoredError
from images.providers.base import Order, unguarded
from specs.errors import BakehouseError
from tests.unit.images.promote.placed import NEW, Place, Powering, begun, deployed, recorded


@pytest.fixture
def site(tmp_path: Path) -> Place:
    return deployed(tmp_path)


def test_a_green_that_is_off_is_the_goal_s_all_the_same(site: Place) -> None:
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "following")
    site.add(2, NEW.id, STANDBY, 4, "following")  # an older server of the same image
    made = site.add(2, NEW.id, STANDBY, 7, "claimed")
    site.provider.power_off(made.id)
    goal = Goal(site.job(), blue.name, begun=7)
    found = green.find(look(site), goal)
    assert found is not None and found.name == made.name
    assert green.find(look(site), Goal(site.job(), blue.name)) is None  # nothing is made yet
    site.provider.set_labels(made.id, labels("hobby", 2, NEW.id, GIVEN_UP, 7))
    assert green.find(look(site), goal) is None


def test_a_standby_that_was_chosen_is_known_by_its_id(site: Place) -> None:
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    old = site.add(2, NEW.id, STANDBY, 3, "following")
    goal = Goal(site.job(), blue.name, green.standing(look(site), NEW.id, blue.name))
    assert goal.green == old.id
    site.add(2, NEW.id, STANDBY, 9, "following")
    site.provider.power_off(old.id)
    found = green.find(look(site), goal)
    assert found is not None and found.name == old.name


def test_nothing_is_gone_on_with_where_a_server_cannot_be_asked(site: Place) -> None:
    """A blue that is taken for silent is switched off; a machine that lacks its keys must not."""
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    site.add(2, NEW.id, STANDBY, 7, "standby")
    site.records[blue.name] = recorded("hobby-000000000001")
    site.records["hobby-g2-e7"] = recorded(NEW.id)
    records.bring(site)
    goal = Goal(site.job(), blue.name, begun=7)
    with pytest.raises(BakehouseError, match="cut"), leased(site, goal.labels()):
        raise BakehouseError("cut short", "")
    site.locked.add(blue.name)
    with pytest.raises(LockedOutError, match="does not let this machine's key in"):
        resume(site, Progress())
    assert [one.status for one in site.provider.servers("hobby")] == ["running", "running"]
    assert site.done == []


def test_the_tunnel_goes_after_the_connections_that_need_it(site: Place) -> None:
    blue = site.add(1, "hobby-000000000001", STANDBY, 7, "following")
    made = site.add(2, NEW.id, ACTIVE, 7, "serving")
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        moving.see_off(run)
        ends = [f"{made.name}: tunnel down", f"{blue.name}: tunnel down"]
        assert site.done == [f"{blue.name}: drain 5", *ends]
        site.done.clear()
        run.blue_off = True
        moving.see_off(run)
        assert f"{blue.name}: drain 5" not in site.done


def test_a_green_that_is_off_is_switched_on_before_anything_is_given_up(site: Place) -> None:
    """It claimed, its operator died, then it went off: only it has the newest data."""
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "following")
    made = site.add(2, NEW.id, STANDBY, 7, "serving")
    site.swap.update(state="swapped", epoch=7)
    site.provider.power_off(made.id)
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        watching.catch_up(run, goal)
        assert run.swapped
    assert site.provider.servers("hobby")[1].status == "running"


def test_where_users_are_sent_to_green_blue_is_not_called_back(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Green may have served alone: a fenced blue lacks what was written since."""
    monkeypatch.setattr(watching, "RETURN", 0.0)
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "fenced")
    made = site.add(2, NEW.id, STANDBY, 7, "claimed")
    site.provider.assign("hobby", made.id)
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        del site.roles[made.name]
        with pytest.raises(BakehouseError, match="holds the newest data") as raised:
            watching.rescue(run)
        assert not isinstance(raised.value, RestoredError)
    assert site.done == []


def test_nothing_is_called_off_while_blue_does_not_say_that_it_serves(site: Place) -> None:
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "following")
    made = site.add(2, NEW.id, STANDBY, 7, "claimed")
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        call_off(begun(site, goal, lease))
        assert lease.claim.held
        site.provider.power_off(blue.id)
        call_off(begun(site, goal, lease))
        assert lease.claim.held
    assert [one.id for one in site.provider.servers("hobby")] == [blue.id, made.id]


def test_a_swap_that_blue_serves_through_is_called_off(site: Place) -> None:
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    site.add(2, NEW.id, STANDBY, 7, "standby")
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        call_off(begun(site, goal, lease))
        assert not lease.claim.held
    assert [one.id for one in site.provider.servers("hobby")] == [blue.id]


@pytest.mark.parametrize("state", ["armed", "restored"])
def test_nobody_waits_for_a_server_that_says_that_it_cannot(
    site: Place, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its disk is full: green gave up, and its guard cannot record that it goes back to work, or
    did, and its Postgres does not start."""
    monkeypatch.setattr(watching, "AGAIN", 0.0)
    blue = site.add(1, "hobby-000000000001", ACTIVE, 7, state)
    made = site.add(2, NEW.id, STANDBY, 7, "gave-up")
    site.full.add(blue.name)
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        with pytest.raises(BakehouseError, match=r"cannot go back to work.*No space left"):
            restored(begun(site, goal, lease), RestoredError("6 stop: no answer"))
        assert lease.claim.held
    assert [one.id for one in site.provider.servers("hobby")] == [blue.id, made.id]


def test_a_server_that_went_back_to_work_is_told_that_green_is_off(site: Place) -> None:
    """Green died and blue's guard restored it: after a reboot blue would wait for green's word."""
    blue = site.add(1, "hobby-000000000001", ACTIVE, 7, "restored")
    made = site.add(2, NEW.id, STANDBY, 7, "standby")
    del site.roles[made.name]
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        ended = restored(begun(site, goal, lease), RestoredError("it stopped answering"))
    assert ended.rolled_back
    assert site.done == [
        f"{blue.name}: guard expect 0",
        f"{blue.name}: guard restore 7 --peer-off",
        f"{blue.name}: peer part",
    ]
    assert [one.id for one in site.provider.servers("hobby")] == [blue.id]


@pytest.mark.parametrize(("state", "off"), [("serving", False), ("restored", True)])
def test_an_old_standby_goes_off_only_when_blue_does_not_hear_its_promise(
    site: Place, state: str, off: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(green, "HEARD", 0.0)
    monkeypatch.setattr(green, "AGAIN", 0.0)
    blue = site.add(1, "hobby-000000000001", ACTIVE, 7, state)
    old = site.add(2, NEW.id, STANDBY, 3, "standby")
    goal = Goal(site.job(), blue.name, green=old.id, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        green.drop(begun(site, goal, lease))
        lease.release()
    assert (f"{blue.name}: guard restore 7 --peer-off" in site.done) is off
    assert (site.provider.servers("hobby")[1].status == "off") is off


def test_who_was_killed_while_he_tidied_up_is_gone_on_with(site: Place) -> None:
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    site.add(2, NEW.id, STANDBY, 7, "gave-up")
    goal = Goal(site.job(), blue.name, begun=7)
    assert isinstance(site.provider, Powering)
    site.provider.broken = "delete"
    with (
        pytest.raises(BakehouseError, match="503"),
        leased(site, goal.labels()) as (lease, _),
    ):
        green.drop(begun(site, goal, lease))
    claim = newest(site.provider, "hobby")
    assert claim is not None and claim.held and claim.goal == {**goal.labels(), **OVER}
    site.provider.broken = ""
    again = Goal(site.job(), blue.name, begun=7, over=True)
    with leased(site, again.labels()) as (lease, _):
        run = begun(site, again, lease)
        with pytest.raises(RestoredError, match="given up") as raised:
            watching.catch_up(run, again)
        ended = restored(run, raised.value)
        assert not lease.claim.held
    assert ended.rolled_back and ended.server == blue.name
    assert [one.id for one in site.provider.servers("hobby")] == [blue.id]


def test_a_swap_that_was_given_up_is_known_to_the_second_resume_too(site: Place) -> None:
    """Green's order is of the epoch in which it was begun, not of the last run's."""
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    site.add(2, NEW.id, STANDBY, 7, "gave-up")
    site.swap.update(state="restored", epoch=7, error="3 arm: refused")
    goal = Goal(site.job(), blue.name, begun=7)
    with leased(site, goal.labels()) as (lease, _):
        with pytest.raises(RestoredError, match="3 arm"):
            watching.catch_up(begun(site, goal, lease), goal)
        lease.release()


def test_a_server_whose_making_ended_in_an_error_goes_with_the_run(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    goal = Goal(site.job(), blue.name)
    marks = labels("hobby", 2, NEW.id, STANDBY, 1)
    monkeypatch.setattr(Job, "order", lambda *_: Order("hobby-g2-e1b", NEW.id, "", marks))
    site.roles["hobby-g2-e1b"] = ("standby", 0)
    assert isinstance(site.provider, Powering)
    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        site.provider.broken = "create"
        with pytest.raises(BakehouseError, match="the action failed"):
            green.create(run)
        assert len(site.provider.servers("hobby")) == 2
        call_off(run)
    assert [one.id for one in site.provider.servers("hobby")] == [blue.id]


def test_the_next_number_is_taken_before_the_old_lease_ends(site: Place) -> None:
    with (
        leased(site, {"verb": "promote"}) as (lease, _),
        leased(site, {"verb": "rollback"}, after=lease) as (later, _),
    ):
        claim = newest(site.provider, "hobby")
        assert claim is not None and claim.held
        assert (claim.number, claim.goal) == (lease.epoch + 1, {"verb": "rollback"})
        with pytest.raises(LostLeaseError):
            lease.check()
        later.release()
    assert not newest(site.provider, "hobby").held  # type: ignore[union-attr]


def test_a_bad_image_is_known_here_though_the_provider_fails(
    site: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    blue = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    goal = Goal(site.job(), blue.name)

    def refuse(*_: object) -> bool:
        raise BakehouseError("503 from the provider", "again")

    with leased(site, goal.labels()) as (lease, _):
        run = begun(site, goal, lease)
        monkeypatch.setattr(Powering, "make_note", refuse)
        tell_bad(run, "it did not answer")
        assert run.notes == ["only this machine knows that the image is bad: 503 from the provider"]
        lease.release()
    assert bad(site.home, None, "hobby", NEW.id)


def test_the_heir_that_was_measured_takes_over(site: Place) -> None:
    dead = site.add(1, "hobby-000000000001", ACTIVE, 1, "serving")
    site.provider.power_off(dead.id)
    measured = site.add(2, NEW.id, STANDBY, 3, "standby")
    site.add(2, NEW.id, STANDBY, 5, "gave-up")  # of the same image, by epoch the newer one
    goal = Goal(site.job(), dead.name, measured.id)
    with leased(site, goal.labels()) as (lease, log), pytest.raises(RefusedError):
        blue_lost.take_over(goal, look(site), lease, log, Progress())
    assert [line for line in site.done if "alone" in line] == [f"{measured.name}: swap alone"]


def test_the_provider_asks_for_the_lease_while_one_is_held(site: Place) -> None:
    assert isinstance(site.provider, Powering)
    with leased(site, {"verb": "promote"}) as (first, _):
        assert site.provider.check == first.check
        with leased(site, {"verb": "rollback"}, after=first) as (second, _):
            assert site.provider.check == second.check
        site.provider.check()
    assert site.provider.check is unguarded

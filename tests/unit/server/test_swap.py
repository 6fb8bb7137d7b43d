"""What follows from which probes: the table of a swap, without any server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from images.server import facts as rules
from images.server.facts import Facts, Phase, pending
from images.server.look import blue_state, seen
from images.server.table import TABLE, Step

START = Facts(database=True, blue="serving", green="standby")
ARMED = replace(START, blue="armed", left=50.0)
PAUSED = replace(
    ARMED,
    synchronous=True,
    workers_stopped=True,
    settled=True,
    held=True,
    paused=True,
)
STOPPED = replace(PAUSED, lsn="0/5000028")
FENCED = replace(STOPPED, replayed=True, files=True, blue="fenced")
CLAIMED = replace(FENCED, green="claimed")
FLOWING = replace(
    CLAIMED, blue="following", pointed=True, primary=True, released=True, resumed=True
)
SERVED = replace(FLOWING, serves=True, forwarded=True, green="serving")


def following(facts: Facts) -> str:
    """The name of the step that is next."""
    rule = pending(facts, TABLE)
    return rule.name if rule else "over"


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (START, "2 warm"),
        (replace(START, warm=True), "3 arm"),
        (ARMED, "3 sync"),
        (replace(ARMED, synchronous=True), "4 workers"),
        (replace(PAUSED, paused=False), "5 pause"),
        (replace(PAUSED, paused=False, held=False), "4 hold"),
        (replace(PAUSED, paused=False, held=False, settled=False), "4 settle"),
        (PAUSED, "6 stop"),
        (STOPPED, "7 replayed"),
        (replace(STOPPED, replayed=True), "7 files"),
        (replace(STOPPED, replayed=True, files=True), "8 fence"),
        (FENCED, "9 claim"),
        (CLAIMED, "9 promote"),
        (replace(CLAIMED, primary=True), "9 release"),
        (replace(CLAIMED, primary=True, released=True), "10 point"),
        (replace(FLOWING, resumed=False), "10 resume"),
        (FLOWING, "10 apps"),
        (replace(FLOWING, serves=True), "10 forward"),
        (replace(FLOWING, serves=True, forwarded=True), "10 serve"),
        (SERVED, "10 answers"),
        (replace(SERVED, answered=True), "11 follow"),
        (replace(SERVED, answered=True, followed=True), "11 reconcile"),
    ],
)
def test_the_probes_say_what_is_next(facts: Facts, name: str) -> None:
    assert following(facts) == name


def test_a_restart_in_the_pause_stops_nothing_twice() -> None:
    """What only the dead process knew is done again; Postgres is down, so no pause, no names."""
    again = replace(ARMED, workers_stopped=True, held=True, lsn="0/5000028")
    assert following(again) == "7 replayed"
    assert following(replace(again, replayed=True)) == "7 files"


def test_a_restart_after_the_fence_looks_at_the_log_again() -> None:
    again = replace(START, blue="fenced", lsn="0/5000028")
    assert following(again) == "7 replayed"
    assert following(replace(again, replayed=True)) == "7 files"
    assert following(replace(again, replayed=True, files=True)) == "9 claim"


def test_once_claimed_nothing_is_undone_or_done_again() -> None:
    bare = Facts(database=True, blue="fenced", green="claimed")
    assert bare.phase is Phase.CLAIMED
    assert following(bare) == "9 promote"


def test_once_blue_follows_writes_must_flow() -> None:
    bare = Facts(database=True, blue="following", green="claimed", primary=True)
    assert bare.phase is Phase.FORWARD
    assert following(bare) == "10 point"  # its pooler may not lead here yet
    assert following(replace(bare, pointed=True)) == "10 resume"


def test_without_a_database_files_and_apps_move_alone() -> None:
    names, facts = [], replace(START, database=False)
    changes = {
        "2 warm": {"warm": True},
        "3 arm": {"blue": "armed"},
        "4 workers": {"workers_stopped": True},
        "4 settle": {"settled": True},
        "4 hold": {"held": True},
        "7 files": {"files": True},
        "8 fence": {"blue": "fenced"},
        "9 claim": {"green": "claimed"},
        "9 promote": {"primary": True},
        "9 release": {"released": True},
        "10 point": {"blue": "following"},
        "10 apps": {"serves": True},
        "10 forward": {"forwarded": True},
        "10 serve": {"green": "serving"},
        "10 answers": {"answered": True},
        "11 reconcile": {"reconciled": True},
        "11 work": {"working": True},
    }
    while (name := following(facts)) != "over":
        names.append(name)
        facts = replace(facts, **changes[name])  # type: ignore[arg-type]
    assert names == list(changes)


@pytest.mark.parametrize("facts", [START, ARMED, STOPPED, FENCED])
def test_a_blue_that_is_switched_off_is_asked_nothing(facts: Facts) -> None:
    names, now = [], replace(facts, off=True, blue="")
    changes = {
        "9 claim": {"green": "claimed"},
        "9 promote": {"primary": True},
        "9 release": {"released": True},
        "10 apps": {"serves": True},
        "10 serve": {"green": "serving"},
        "11 reconcile": {"reconciled": True},
        "11 work": {"working": True},
    }
    while (name := following(now)) != "over":
        names.append(name)
        now = replace(now, **changes[name])  # type: ignore[arg-type]
    assert names == list(changes)
    assert rules.outcome(now) == "swapped"


def test_a_blue_that_dies_after_the_claim_stops_nothing_but_is_told() -> None:
    gone = replace(CLAIMED, blue="", gone=True, primary=True, released=True)
    assert following(gone) == "10 apps"
    assert rules.outcome(gone) == "stuck"


@pytest.mark.parametrize("blue", ["restored", "newer"])
def test_a_blue_that_went_back_to_work_ends_it(blue: str) -> None:
    assert rules.ended(replace(ARMED, blue=blue)) == "restored"


def test_a_promise_is_kept() -> None:
    assert rules.ended(replace(FENCED, green="gave-up")) == "restored"


def test_a_claim_is_not_ended_by_a_silent_blue() -> None:
    assert rules.ended(replace(CLAIMED, blue="")) is None
    assert rules.ended(replace(ARMED, blue="")) is None


@pytest.mark.parametrize(
    ("facts", "late"),
    [
        (replace(ARMED, left=4.9), True),
        (replace(ARMED, left=5.1), False),
        (replace(PAUSED, left=3.0), False),
        (replace(PAUSED, left=2.4), True),
        (replace(FENCED, left=0.0), False),
        (replace(CLAIMED, left=0.0), False),
        (replace(START, left=0.0), False),
    ],
)
def test_the_guard_is_never_raced(facts: Facts, late: bool) -> None:
    assert rules.lacks_time(facts) is late


def test_before_the_fence_every_failure_restores() -> None:
    before = [step for step in TABLE if step.phase is Phase.BEFORE and step.name < "8"]
    assert {step.fails for step in before} == {"restore"}
    later = [step for step in TABLE if step.phase is Phase.FORWARD]
    assert {step.fails for step in later} == {"retry"}


def test_a_blue_that_comes_back_fenced_is_made_to_follow() -> None:
    """It died before it recorded that it follows; green went on alone and serves."""
    back = Facts(database=True, blue="fenced", green="serving", primary=True)
    assert following(back) == "10 point"
    assert following(replace(back, blue="following", pointed=True)) == "10 resume"


def test_each_step_has_a_name_and_a_number_of_its_own() -> None:
    names = [step.name for step in TABLE]
    assert len(set(names)) == len(names)
    numbers = [int(name.split()[0]) for name in names]
    assert numbers == sorted(numbers)
    assert all(isinstance(step, Step) for step in TABLE)


@pytest.mark.parametrize(
    ("role", "state"),
    [
        ({"epoch": 6, "state": "serving"}, "serving"),
        ({"epoch": 6, "state": "following"}, "serving"),
        ({"epoch": 7, "state": "armed"}, "armed"),
        ({"epoch": 7, "state": "serving"}, "restored"),
        ({"epoch": 7, "state": "restored"}, "restored"),
        ({"epoch": 8, "state": "armed"}, "newer"),
    ],
)
def test_blues_record_means_something_in_our_epoch_only(
    role: dict[str, object], state: str
) -> None:
    assert blue_state(7, role) == state


def test_what_is_seen_of_blue_in_the_pause() -> None:
    status = {
        "role": {"epoch": 7, "state": "armed"},
        "left": 41.5,
        "postmaster": False,
        "lsn": "0/5000028",
        "paused": True,
        "target": "here",
        "hold": "hold",
        "workers": [],
    }
    found = seen(START, 7, status)
    assert (found.blue, found.left, found.held, found.lsn) == ("armed", 41.5, True, "0/5000028")
    assert not found.resumed
    assert not found.forwarded
    assert following(found) == "7 replayed"
    running = seen(START, 7, {**status, "postmaster": True, "paused": False, "hold": "none"})
    assert running.lsn == ""

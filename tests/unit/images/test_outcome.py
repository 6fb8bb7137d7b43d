"""How an end is told: to a person in one line, to a script by its code."""

from __future__ import annotations

import pytest

from images.scheduled.outcome import Outcome
from specs.model import Event, Notify

WANTED = Notify().events


def test_the_first_line_says_what_a_person_needs() -> None:
    ended = Outcome("web", "staged", generation=8, fixes={"bash": ["CVE-2026-1", "CVE-2026-2"]})
    assert ended.headline() == (
        "web: generation 8 waits for you: `invoke promote`, closes 2 advisories"
    )
    ended = Outcome("web", "failed", serves=7, why="the index has expired", alarm="40 days old")
    assert ended.headline() == "web: THE RUN FAILED; generation 7 serves on; ALARM: 40 days old"
    assert ended.lines()[1] == "the index has expired"


def test_a_long_list_of_changes_stays_short() -> None:
    ended = Outcome("web", "promoted", changes=tuple(f"~ base: p{n} 1 → 2" for n in range(20)))
    assert ended.lines()[-1] == "and 12 more changes"
    ended.fixes = {"linux-image": [f"CVE-2026-{n}" for n in range(1000, 3000)]}
    assert len(ended.lines()[-1]) < 250
    assert ended.lines()[-1].endswith("CVE-2026-1011 and 1988 more")


@pytest.mark.parametrize(
    ("end", "code"),
    [("nothing-to-do", 0), ("staged", 0), ("promoted", 0), ("failed", 1), ("refused", 3)],
)
def test_exit_codes(end: str, code: int) -> None:
    assert Outcome("web", end).exit_code == code  # type: ignore[arg-type]
    assert Outcome("web", "rolled-back").exit_code == 4
    assert Outcome("web", "failed", wrong=True).exit_code == 2


def test_an_alarm_is_told_even_of_a_run_that_nobody_wants_told() -> None:
    quiet = Outcome("web", "nothing-to-do")
    assert quiet.event(WANTED) == "nothing-to-do"  # which nobody wants: `tell` leaves it
    quiet.alarm = "40 days old"
    assert quiet.event(WANTED) == "alarm"
    assert Outcome("web", "failed", alarm="x").event(WANTED) == "failed"
    everything: tuple[Event, ...] = (*WANTED, "nothing-to-do")
    assert quiet.event(everything) == "nothing-to-do"


def test_a_look_and_an_overlap_are_not_told() -> None:
    assert Outcome("web", "planned").event(WANTED) is None
    assert Outcome("web", "refused", quiet=True).event(WANTED) is None

"""Whether a new server is well: judged by what users are answered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from images.promote.ending import STILL, UnhealthyError, judge


class Users:
    """Answers in turn, the last one for ever; a failing one takes its time."""

    def __init__(self, answers: list[str], failing: float = 0.0) -> None:
        self.answers = iter(answers)
        self.last = answers[-1]
        self.failing = failing
        self.now = 0.0
        self.looks = 0

    def look(self) -> dict[str, str]:
        self.looks += 1
        answer = next(self.answers, self.last)
        self.now += self.failing if answer else 0.0
        return {"page": answer, "other": ""}

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def judged(users: Users, seconds: float) -> None:
    judge(users.look, seconds, lambda: users.now, users.sleep)


def flapping() -> Iterator[str]:
    """One fails when the other does not."""
    while True:
        yield from ("502", "")


def test_well_all_the_time() -> None:
    users = Users([""])
    judged(users, 6)
    assert users.looks == 6


def test_one_lost_answer_is_no_reason() -> None:
    judged(Users(["", "502", "502", ""]), 6)


def test_three_in_a_row_are() -> None:
    with pytest.raises(UnhealthyError, match="502"):
        judged(Users(["", "502"]), 6)


def test_answers_that_fail_slowly_are_waited_for() -> None:
    """Three of them take longer than the whole time."""
    with pytest.raises(UnhealthyError, match="no answer"):
        judged(Users(["", "", "no answer"], failing=5.0), 6)


def test_what_fails_last_is_asked_again() -> None:
    users = Users(["", "", "", "", "", "502", ""])
    judged(users, 6)
    assert users.looks == 7


def test_what_never_comes_to_rest_is_not_well() -> None:
    users = Users([""])
    users.answers = flapping()

    def look() -> dict[str, str]:
        found = users.look()
        return {"page": found["page"], "other": "" if found["page"] else "503"}

    with pytest.raises(UnhealthyError):
        judge(look, 6, lambda: users.now, users.sleep)
    assert users.now > 6 + STILL

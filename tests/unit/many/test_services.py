"""The small services of many.yaml, where they need no database."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from specs.many.python.services.clock import now
from specs.many.python.services.dice import roll
from specs.many.python.services.holidays import calendar, easter
from specs.many.python.services.paste import store
from specs.many.python.services.web import RefusalError, Request


@pytest.mark.parametrize(
    "day", [date(1961, 4, 2), date(2000, 4, 23), date(2025, 4, 20), date(2038, 4, 25)]
)
def test_easter(day: date) -> None:
    assert easter(day.year) == day


def test_calendar_has_a_day_for_each_holiday() -> None:
    text = calendar(2025)
    assert text.count("BEGIN:VEVENT") == 4
    assert "DTSTART;VALUE=DATE:20250418\r\nSUMMARY:Good Friday" in text


def test_dice_stay_on_their_sides() -> None:
    rolled = roll(200, 6)
    assert len(rolled) == 200
    assert set(rolled) <= {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("zone", ["Nowhere", "Europe/Nowhere", "Europe"])
def test_clock_of_a_place_that_is_none(zone: str) -> None:
    with pytest.raises(RefusalError, match="no such zone"):
        now(zone)


def test_a_paste_has_the_name_of_its_content(tmp_path: Path) -> None:
    first, again, other = (store(tmp_path, content) for content in (b"a", b"a", b"b"))
    assert first == again != other
    assert (tmp_path / first).read_bytes() == b"a"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b"{"])
def test_a_body_that_is_no_object(content: bytes) -> None:
    with pytest.raises(RefusalError, match="not"):
        Request((), {}, content).json()

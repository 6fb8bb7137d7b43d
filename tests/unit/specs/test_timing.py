"""When a run starts and when it may swap."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from specs.timing import When, fits, parse_when, parse_window


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


SUNDAY = at("2026-11-22T03:00")


def test_a_time_of_day_is_every_day() -> None:
    assert parse_when("04:15") == When((0, 1, 2, 3, 4, 5, 6), 255)
    assert parse_when("04:15").calendar() == "*-*-* 04:15:00 UTC"
    assert parse_when("04:15").cron() == "15 4 * * *"


def test_weekdays_in_any_order() -> None:
    when = parse_when("Thu,Mon 22:30")
    assert when == parse_when("Mon,Thu 22:30")
    assert when.calendar() == "Mon,Thu *-*-* 22:30:00 UTC"
    assert when.cron() == "30 22 * * 1,4"


def test_crons_sunday_is_0_and_a_delay_may_pass_midnight() -> None:
    assert parse_when("Sun 03:00").cron() == "0 3 * * 0"
    assert parse_when("Sun 23:30").cron(later=45) == "15 0 * * 1"
    assert parse_when("Sat 23:30").cron(later=45) == "15 0 * * 0"


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2026-11-22T03:00", "2026-11-22T03:00"),
        ("2026-11-22T02:59", "2026-11-15T03:00"),
        ("2026-11-21T23:59", "2026-11-15T03:00"),
        ("2026-11-25T12:00", "2026-11-22T03:00"),
    ],
)
def test_the_last_start(now: str, last: str) -> None:
    assert parse_when("Sun 03:00").last(at(now)) == at(last)


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        ("02:00-05:00", ["2026-11-22T02:00", "2026-11-23T04:59"], ["2026-11-22T05:00"]),
        ("Sun 02:00-05:00", ["2026-11-22T03:00"], ["2026-11-23T03:00", "2026-11-22T01:59"]),
        ("Sat 22:00-03:00", ["2026-11-21T22:00", "2026-11-22T02:59"], ["2026-11-22T22:30"]),
        ("Sun 04:00-04:00", ["2026-11-22T04:00", "2026-11-23T03:59"], ["2026-11-23T04:00"]),
    ],
)
def test_a_window(window: str, inside: list[str], outside: list[str]) -> None:
    span = parse_window(window)
    assert all(span.holds(at(when)) for when in inside)
    assert not any(span.holds(at(when)) for when in outside)


def test_a_schedule_fits_a_window_with_its_longest_delay() -> None:
    assert fits(parse_when("Sun 03:00"), parse_window("Sun 02:00-05:00"))
    assert fits(parse_when("Sun 23:30"), parse_window("Sun 22:00-01:00"))
    assert not fits(parse_when("Sun 03:00"), parse_window("Sun 02:00-04:00"))
    assert not fits(parse_when("Sat,Sun 03:00"), parse_window("Sun 02:00-05:00"))
    assert parse_window("Sun 02:00-05:00").holds(SUNDAY)

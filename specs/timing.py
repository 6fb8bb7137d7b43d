"""When a scheduled rebuild starts, and when it may swap: weekdays and times of day, in UTC.

UTC because it is the clock of every runner that a schedule may be written for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

DELAY: Final = timedelta(hours=1)
"""A start comes up to this much later, so that not every server of the world asks at once."""

_DAY: Final = f"(?:{'|'.join(DAYS)})"
_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_ON: Final = rf"(?:{_DAY}(?:,{_DAY}){{0,6}} )?"
WHEN: Final = rf"{_ON}{_CLOCK}"
WINDOW: Final = rf"{_ON}{_CLOCK}-{_CLOCK}"

_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class When:
    """A time of day on some weekdays. `days` counts from Monday, 0; `minute` from midnight."""

    days: tuple[int, ...]
    minute: int

    @property
    def clock(self) -> str:
        """The time of day, as `03:00`."""
        return f"{self.minute // 60:02}:{self.minute % 60:02}"

    def calendar(self) -> str:
        """As systemd reads it (systemd.time(7))."""
        days = "" if len(self.days) == len(DAYS) else f"{','.join(DAYS[d] for d in self.days)} "
        return f"{days}*-*-* {self.clock}:00 UTC"

    def cron(self, later: int = 0) -> str:
        """As cron reads it, where cron's clock is UTC; `later` are minutes, less than a day."""
        over, minute = divmod(self.minute + later, _DAY_MINUTES)
        days = sorted((day + over + 1) % 7 for day in self.days)  # cron's Sunday is 0
        named = "*" if len(days) == len(DAYS) else ",".join(map(str, days))
        return f"{minute % 60} {minute // 60} * * {named}"

    def last(self, now: datetime) -> datetime:
        """The newest of these times that is not after `now`."""
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for back in range(8):
            found = today - timedelta(days=back) + timedelta(minutes=self.minute)
            if found.weekday() in self.days and found <= now:
                return found
        raise AssertionError("a week has every weekday")


@dataclass(frozen=True, slots=True)
class Window:
    """A span of the day on some weekdays; one that ends before it starts ends on the next day."""

    start: When
    minutes: int

    def holds(self, now: datetime) -> bool:
        """Whether `now` is inside of it."""
        return now - self.start.last(now) < timedelta(minutes=self.minutes)


def parse_when(text: str) -> When:
    """`Sun 03:00`, `Mon,Thu 22:30`, or `04:15` for every day. `text` fits `WHEN`."""
    days, _, clock = text.rpartition(" ")
    return When(_days(days), _minute(clock))


def parse_window(text: str) -> Window:
    """`Sun 02:00-05:00`; without days it is open daily. `text` fits `WINDOW`."""
    days, _, span = text.rpartition(" ")
    start, _, end = span.partition("-")
    first = _minute(start)
    return Window(When(_days(days), first), (_minute(end) - first) % _DAY_MINUTES or _DAY_MINUTES)


def fits(when: When, window: Window) -> bool:
    """Whether every start, with the longest delay, lies within the window."""
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    starts = [monday + timedelta(days=7 + day, minutes=when.minute) for day in when.days]
    return all(window.holds(start) and window.holds(start + DELAY) for start in starts)


def _days(text: str) -> tuple[int, ...]:
    named = text.split(",") if text else DAYS
    return tuple(sorted({DAYS.index(day) for day in named}))


def _minute(clock: str) -> int:
    hours, _, minutes = clock.partition(":")
    return int(hours) * 60 + int(minutes)

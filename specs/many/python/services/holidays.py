"""Holidays that move with Easter, as a calendar to subscribe to: GET /<year>.ics."""

from __future__ import annotations

from datetime import date, timedelta

from .web import Answer, Request, serve, well

MOVING = {"Good Friday": -2, "Easter Monday": 1, "Ascension Day": 39, "Whit Monday": 50}
"""Days from Easter Sunday."""


def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar, by the method of Meeus, Jones and Butcher."""
    a, (b, c) = year % 19, divmod(year, 100)
    d, e = divmod(b, 4)
    h = (19 * a + b - d - (b - (b + 8) // 25 + 1) // 3 + 15) % 30
    i, k = divmod(c, 4)
    weekday = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * weekday) // 451
    month, day = divmod(h + weekday - 7 * m + 114, 31)
    return date(year, month, day + 1)


def calendar(year: int) -> str:
    """An iCalendar (RFC 5545)."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bakehouse//holidays//EN"]
    for name, offset in MOVING.items():
        day = easter(year) + timedelta(days=offset)
        lines += ["BEGIN:VEVENT", f"UID:{year}-{name.replace(' ', '-')}@bakehouse"]
        lines += [f"DTSTAMP:{year}0101T000000Z", f"DTSTART;VALUE=DATE:{day:%Y%m%d}"]
        lines += [f"SUMMARY:{name}", "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


def main() -> None:
    """Serve."""

    def show(request: Request) -> Answer:
        return Answer(calendar(int(request.groups[0])).encode(), kind="text/calendar")

    serve({r"GET /([12]\d{3})\.ics": show, "GET /healthz": well})


if __name__ == "__main__":
    main()

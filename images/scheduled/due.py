"""Whether a scheduled run is due: for schedulers that forget what passed while they were off."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from images.history import journal
from images.home import Home
from specs.model import Spec
from specs.timing import parse_when


def waits(home: Home, spec: Spec, now: datetime | None = None) -> str:
    """Why no run is due; "" when one is: a start of the schedule has passed since the last run.

    A run that failed is not due again before the next start: who was told decides. Who only looked,
    or found another one at work, has not run.
    """
    moment = now or datetime.now(UTC)
    start = parse_when(spec.rebuild.schedule).last(moment)
    runs = [entry for entry in journal(home, spec.name).deeds() if _ran(entry)]
    if not runs:
        return ""
    last = datetime.fromisoformat(runs[-1]["time"])
    if last < start:
        return ""
    return f"{spec.name}: not due; the last run ended {last:%Y-%m-%d %H:%M} UTC"


def _ran(entry: dict[str, Any]) -> bool:
    """Whether this deed is a scheduled run; a dry one of before `dry_run` was recorded is known by
    its end."""
    idle = entry.get("dry_run") or entry.get("quiet") or entry.get("outcome") == "planned"
    return entry["event"] == "rebuild" and not idle

"""How a backup ended: recorded beside the data, with which it moves, for whoever asks."""

from __future__ import annotations

import json
from typing import Any, Final

from . import state

BACKUP: Final = state.STATE / "backup.json"
"""How the last backup of this data ended, as `backup` recorded it; it moves with the data."""

SHOWN: Final = 500
"""Characters of the reason that are recorded."""


def outcome(now: float, why: str) -> str:
    """The record: when it ended, in seconds since 1970, whether it is `ok`, and `why` not."""
    return json.dumps({"at": int(now), "ok": not why, "why": " ".join(why.split())[:SHOWN]}) + "\n"


def last_backup() -> dict[str, Any] | None:
    """`at` (seconds since 1970), whether it was `ok`, and `why` not; None when nothing is known."""
    try:
        found = state.read_json(BACKUP)
    except (state.ProgramError, OSError):  # this alone makes no server silent
        return None
    return found if isinstance(found, dict) else None

"""How the last backup and the last check of its repository ended: recorded beside the data, with
which it moves, for whoever asks.

Each by itself: a backup that works says nothing of the archives before it, nor a check of backups.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

from . import state

BACKUP: Final = state.STATE / "backup.json"
"""How the last backup of this data ended, as `backup` recorded it."""

CHECK: Final = state.STATE / "check.json"
"""How the last check that came to an end did, and which `repository` it looked at."""

SHOWN: Final = 500
"""Characters of the reason that are recorded."""


def note_backup(why: str = "") -> None:
    """Record how a backup ended: well, or `why` not. It never fails one."""
    _note(BACKUP, outcome(time.time(), why))


def note_check(repository: str, why: str = "") -> None:
    """Record how a check of the repository ended: well, or `why` not. It never fails one."""
    _note(CHECK, {**outcome(time.time(), why), "repository": repository})


def _note(path: Path, record: dict[str, Any]) -> None:
    try:
        state.write(path, json.dumps(record) + "\n")
    except OSError as error:
        print(f"<4>how the {path.stem} ended could not be recorded: {error}", file=sys.stderr)


def outcome(now: float, why: str) -> dict[str, Any]:
    """The record: when it ended, in seconds since 1970, whether it is `ok`, and `why` not."""
    return {"at": int(now), "ok": not why, "why": " ".join(why.split())[:SHOWN]}


def last_backup() -> dict[str, Any] | None:
    """`at` (seconds since 1970), whether it was `ok`, and `why` not; None when nothing is known."""
    return _last(BACKUP)


def last_check(repository: str) -> dict[str, Any] | None:
    """The same of a check of this repository, with its name: of another one nothing is known."""
    found = _last(CHECK)
    return found if found and found.get("repository") == repository else None


def _last(path: Path) -> dict[str, Any] | None:
    try:
        found = state.read_json(path)
    except (state.ProgramError, OSError):  # this alone makes no server silent
        return None
    return found if isinstance(found, dict) else None

"""Files of requests that ran on at the hold: carried before anybody is told that they are kept."""

from __future__ import annotations

from typing import Any

from . import sync
from .asking import RefusedError
from .swapping import Swap


def late_pass(swap: Swap, seconds: float = 1.0) -> dict[str, Any]:
    """One pass once an answer is `ready`, or after so many seconds; then those answers go out.

    Returns them, and how many requests are still `running`. Raises as `sync.run` and `Line.ask`.
    """
    found = ending(swap, seconds)
    sync.run(sync.folders(swap.server), "late", swap.known)
    if found["ready"]:
        swap.line.ask("let_answer", answers=found["ready"])
    return found


def ending(swap: Swap, seconds: float) -> dict[str, Any]:
    """What of the requests at blue still runs, and whose answers are ready. Where answers are not
    held back an upload's file comes a moment after its answer."""
    try:
        found = swap.line.ask_if_known("late", seconds=seconds)
    except RefusedError as error:
        swap.journal.write("11 late files", "not held", why=str(error))
        found = None
    return found or {"ready": [], **swap.line.ask("running")}

"""Files of requests that ran on at the hold: carried before anybody is told that they are kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from . import sync
from .asking import RefusedError
from .swapping import Swap

WAIT: Final = 1.0
"""Seconds from one pass to the next when no answer waits for it."""


def late_pass(swap: Swap) -> dict[str, Any]:
    """One pass once an answer is `ready`, or after a second; then those answers go out.

    Returns them, and how many requests are still `running`. Raises as `sync.run` and `Line.ask`.
    """
    found = ending(swap, WAIT)
    _carry(swap, found["ready"])
    return found


def let_answer(swap: Swap, seconds: float) -> bool:
    """Whether an answer was ready within so many seconds; a pass came after it, and it goes out.

    Raises as `late_pass`.
    """
    ready = ending(swap, seconds)["ready"]
    if ready:
        _carry(swap, ready)
    return bool(ready)


def _carry(swap: Swap, answers: Sequence[Sequence[int]]) -> None:
    sync.run(sync.folders(swap.server), "late", swap.known)
    if answers:
        swap.line.ask("let_answer", answers=answers)


def ending(swap: Swap, seconds: float) -> dict[str, Any]:
    """What of the requests at blue still runs, and whose answers are ready. Where answers are not
    held back an upload's file comes a moment after its answer."""
    try:
        found = swap.line.ask_if_known("late", seconds=seconds)
    except RefusedError as error:
        swap.journal.write("11 late files", "not held", why=str(error))
        found = None
    return found or {"ready": [], **swap.line.ask("running")}

"""What the probes of both servers say, gathered when a swap begins, goes on, or is in doubt."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from . import guard, record, state
from .asking import LostError
from .facts import Facts
from .state import ProgramError
from .swapping import Swap


def look(swap: Swap) -> Facts:
    """The facts now; what no probe can tell is kept. Raises nothing for a blue that is silent."""
    role = record.load()
    if role.state == "claimed" and role.boot != state.boot_id():
        role = guard.settle()
    green = role.state if role.epoch == swap.epoch else "standby"
    asked = time.monotonic()
    try:
        status = swap.line.ask("status", limit=5)
    except LostError:
        return replace(swap.facts, green=green, blue="", primary=primary(swap))
    swap.deadline = asked + float(status["left"] or 0)
    known = seen(swap.facts, swap.epoch, status)
    return replace(known, green=green, primary=primary(swap))


def seen(facts: Facts, epoch: int, status: dict[str, Any]) -> Facts:
    """The facts with what the hand's `status` says of blue."""
    held = status["hold"] in ("hold", "forward")
    blue = blue_state(epoch, status["role"])
    return replace(
        facts,
        blue=blue,
        gone=False,
        left=float(status["left"] or 0),
        workers_stopped=blue == "armed" and not status["workers"],
        held=held or (blue in ("armed", "fenced") and facts.held),
        paused=bool(status["paused"]),
        lsn="" if status["postmaster"] else str(status["lsn"] or ""),
        pointed=status["target"] == "peer",
        resumed=blue == "following" and status["target"] == "peer" and not status["paused"],
        forwarded=status["hold"] == "forward",
    )


def blue_state(epoch: int, role: dict[str, Any]) -> str:
    """Blue's state in this epoch: `serving` before it is armed, `newer` when ours is over."""
    if role["epoch"] > epoch:
        return "newer"
    if role["epoch"] < epoch:
        return "serving"
    return "restored" if role["state"] == "serving" else str(role["state"])


def primary(swap: Swap) -> bool:
    """Whether green's Postgres writes; False also when it does not answer."""
    if not swap.facts.database:
        return False
    try:
        return swap.value("SELECT pg_is_in_recovery()") == "f"
    except ProgramError:
        return False

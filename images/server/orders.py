"""What a swap was told and how it ended: two files, the first written by the operator's verbs, the
second by the unit alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any, Final

from . import journal, record, state
from .state import ProgramError
from .swapping import Swap

ORDER: Final = state.LIB / "swap.json"
RESULT: Final = state.LIB / "swap-result.json"
UNIT: Final = "bakehouse-swap.service"
SECONDS: Final = 60.0
"""How long blue's guard waits before it goes back to work, unless the order says."""

BEGINS: Final = 30.0
"""Seconds after which the unit must have begun, also when this server is just booting."""

CODES: Final = {"swapped": 0, "restored": 1, "stuck": 2}


def read() -> dict[str, Any] | None:
    """The order, or None when there never was one."""
    return dict(state.read_json(ORDER)) if ORDER.exists() else None


def result(order: dict[str, Any], *, final: bool = True) -> dict[str, Any] | None:
    """How this order ended. `final` False: also that it waits for a person."""
    if not RESULT.exists():
        return None
    found = dict(state.read_json(RESULT))
    if found["epoch"] != order["epoch"] or (final and not found["final"]):
        return None
    return found


def tell(swap: Swap, ending: str, why: str, *, final: bool = True, **more: bool) -> None:
    """Record how it ended; with `final` False only what it waits for, while it goes on."""
    found = {
        "epoch": swap.epoch,
        "state": ending,
        "error": why,
        "final": final,
        "blue_gone": swap.facts.gone,
        "second_copy": swap.facts.followed,
        **more,
    }
    state.write(RESULT, json.dumps(found) + "\n")


def start(wanted: dict[str, Any], *, alone: bool = False) -> None:
    """Write the order and let the unit carry it out; `alone` waits for the end.

    An order of the same epoch goes on where it is. Raises ProgramError when that epoch is over.
    """
    epoch = int(wanted["epoch"])
    old = read()
    defaults = {"seconds": SECONDS, "allow_disconnects": False, "off": alone}
    if old and int(old["epoch"]) > epoch:
        raise ProgramError(f"epoch {epoch} is over: this server was told of {old['epoch']}")
    if old and int(old["epoch"]) == epoch:
        before = result(old)
        if before and before["state"] == "restored":
            raise ProgramError(f"epoch {epoch} ended: {before['error']}; begin a new one")
        if before and before["state"] == "swapped":
            return
        RESULT.unlink(missing_ok=True)
        state.write(ORDER, json.dumps({**defaults, **old, **wanted, **_off(alone)}) + "\n")
        systemctl("start", "--no-block", UNIT)
    else:
        RESULT.unlink(missing_ok=True)
        state.write(ORDER, json.dumps({**defaults, **wanted, **_off(alone)}) + "\n")
        systemctl("restart", "--no-block", UNIT)
    if alone:
        wait(120)


def _off(alone: bool) -> dict[str, bool]:
    return {"off": True} if alone else {}


def wait(seconds: float) -> None:
    """Until there is a result; ProgramError when there is none in time."""
    end = time.monotonic() + seconds
    while (order := read()) is not None and result(order) is None:
        if time.monotonic() > end:
            raise ProgramError(f"no end after {seconds:g} s: journalctl -u {UNIT}")
        time.sleep(0.1)


def confirm_off(epoch: int) -> None:
    """A person's word that blue is switched off for certain."""
    order = read()
    if order is None or int(order["epoch"]) != epoch:
        raise ProgramError(f"there is no order of epoch {epoch} here")
    state.write(ORDER, json.dumps({**order, "off": True}) + "\n")
    if result(order) is None:
        RESULT.unlink(missing_ok=True)
    systemctl("start", "--no-block", UNIT)


def give_up(epoch: int) -> None:
    """Green never takes over in this epoch; refused once it claimed."""
    record.give_up(epoch)


def watch() -> int:
    """Print this order's journal as it comes, until the swap has ended; `CODES`."""
    order = read()
    if order is None:
        raise ProgramError("there is no order here: swap start")
    printed, seen = 0, time.monotonic()
    while True:
        found = result(order, final=False)
        lines = journal.Journal(int(order["epoch"])).lines()
        new = lines[printed:]
        for line in new:
            print(json.dumps(line), flush=True)
        printed = len(lines)
        if found:
            return CODES[found["state"]]
        if new or not stopped():  # nothing is started beside a swap that gets on
            seen = time.monotonic()
        elif time.monotonic() > seen + BEGINS:
            print(f"{UNIT} does not run and left no result", file=sys.stderr)
            return CODES["stuck"]
        time.sleep(0.1)


def stopped() -> bool:
    """Whether the unit neither runs nor is about to."""
    words = ["systemctl", "show", "--property=ActiveState", "--value", UNIT]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    time.sleep(0.2)  # a result that was being written is seen by the next look
    return done.stdout.strip() in ("inactive", "failed") and RESULT.exists() is False


def status() -> dict[str, Any]:
    """Where this server's swap is: see docs/promote.md."""
    order = read()
    found: dict[str, Any] = {"state": "none", "epoch": None, "replayed_at": replayed_at()}
    if order is None:
        return found
    lines = journal.Journal(int(order["epoch"])).lines()
    found |= {
        "state": "running",
        "epoch": order["epoch"],
        "error": "",
        "power_off": False,
        "unfence": False,
        "blue_gone": False,
        **(result(order, final=False) or {}),
    }
    found["step"] = lines[-1]["step"] if lines else ""
    found["steps"] = journal.took(lines)
    found["write_pause_seconds"] = journal.between(lines, "5 pause", "10 resume")
    found["held_seconds"] = journal.between(lines, "4 hold", "10 forward")
    return found


def replayed_at() -> float | None:
    """When the last commit that was replayed here was made, in unix seconds."""
    postgres = state.server()["postgres"]
    if not postgres:
        return None
    query = "SELECT extract(epoch FROM pg_last_xact_replay_timestamp())"
    try:
        text = state.psql(int(postgres["version"]), query).strip()
    except ProgramError:
        return None
    return float(text) if text else None


def systemctl(*words: str) -> None:
    """Ask systemd. Raises ProgramError with its words."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ProgramError(f"systemctl {' '.join(words)}: {done.stderr.strip()}")

"""Steps 3 to 11 seen from outside: green's unit does them, and needs us only when a server is dead.

What we may do then, and nobody else: switch a server off for certain, and say so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

from images.promote.goal import Goal
from images.promote.green import announce, order
from images.promote.reach import Contact, RefusedError, UnreachableError
from images.promote.runs import Run
from specs.errors import BakehouseError

SILENCE: Final = 25.0
"""Seconds that green may be silent before somebody looks whether it is dead."""

STALL: Final = 10.0
"""Seconds from one look at whether the unit gets on to the next: of what stands still between two
looks, users' writes wait for twice as long."""

RETURN: Final = 240.0
"""Seconds that a server which was switched on again may take to answer."""

REFUSALS: Final = 3
"""How often a server must say that it cannot go back to work: its own guard tries at the same time,
and the disk may fill and empty again."""

AGAIN: Final = 1.0
"""Seconds from one look at a server that is to come back to the next."""

GUARD: Final = 90.0
"""Seconds in which an armed blue has certainly gone back to work by itself."""


class RestoredError(BakehouseError):
    """The swap was given up and blue serves again, with every write."""


def swap(run: Run) -> None:
    """Let green's unit swap, and stay until it has ended, whichever way.

    Raises RestoredError when blue serves again, BakehouseError when a person is needed.
    """
    green = run.there()
    status = green.program("swap", "status")
    if status["state"] not in ("running", "swapped") or int(status.get("epoch") or 0) < run.epoch:
        try:
            announce(run)
        except (RefusedError, UnreachableError) as error:
            raise RestoredError(f"blue could not be told of the swap: {error.message}") from error
        green.program("swap", "start", given=order(run))
    watch(run)


def catch_up(run: Run, goal: Goal) -> None:
    """What became of the swap that an earlier run had started, if it had.

    Stays with a unit that is still at it. Raises as `swap`.
    """
    if goal.over:
        raise RestoredError("it was given up by the run that was cut short")
    if run.green is None:
        return
    await_green(run)
    status = run.green.program("swap", "status")
    epoch = int(status.get("epoch") or 0)
    if under_way(status["state"], epoch, int(run.green.program("guard", "status")["epoch"])):
        watch(run)
    elif status["state"] == "restored" and epoch >= goal.begun:
        raise RestoredError(str(status["error"]))


def await_green(run: Run) -> None:
    """Green answers. One that is off is switched on, since it may have the newest data; one that
    was just made is still booting. Raises as `rescue`."""
    green = run.there()
    off = green.server.status == "off"
    if off:
        run.lease.check()
        run.note(f"{green.name} is off, and may have the newest data: it is switched on")
        run.site.provider.power_on(green.server.id)
    deadline = time.monotonic() + (RETURN if off or serves(run.blue) else SILENCE)
    while not reachable(green):
        if time.monotonic() > deadline:
            rescue(run)
            return
        time.sleep(1)


def under_way(state: str, epoch: int, role: int) -> bool:
    """Whether green's last order, of `epoch`, is what it now lives by: its guard knows none newer
    than `role`. A server that served once, and follows now, tells of a swap that is long over."""
    return state == "running" or (state in ("swapped", "stuck") and epoch == role)


def watch(run: Run) -> None:
    """Stay with the unit until it has ended. Raises as `swap`."""
    green = run.there()
    silent_since: float | None = None
    still = False
    while True:
        try:
            code = green.follow(
                "swap", "watch", on_line=lambda line: told(run, line), timeout=STALL
            )
            if code in (0, 1, 2):
                ended(run, code, green.program("swap", "status"))
                return
        except UnreachableError:
            pass
        silent_since = silent_since or time.monotonic()
        if reachable(green):
            silent_since = None
            before, still = still, stands_still(run)
            if before and still:
                give_back(run, f"{green.name} cannot record that it takes over")
        elif time.monotonic() > silent_since + SILENCE:
            rescue(run)
            silent_since = None
        time.sleep(0.5)


def stands_still(run: Run) -> bool:
    """Whether blue is fenced and green has not claimed, which takes no time unless its disk is
    full: then neither serves, and green's unit can end it in no way."""
    try:
        states = [side.hand("status")["role"]["state"] for side in (run.blue, run.there())]
    except BakehouseError:
        return False
    return states == ["fenced", "standby"]


def per_step(rows: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Seconds by the number of the step: the unit names its parts, as in `4 hold`."""
    found: dict[int, float] = {}
    for row in rows:
        number = str(row["step"]).partition(" ")[0]
        if number.isdecimal():
            found[int(number)] = found.get(int(number), 0.0) + float(row["seconds"])
    return found


def told(run: Run, line: str) -> None:
    """A line of the unit's journal, for the person who waits and for ours."""
    try:
        entry = json.loads(line)
    except ValueError:
        run.progress.say(line)
        return
    if float(entry.get("at", "inf")) < run.heard:  # told before
        return
    run.heard = float(entry.get("at", run.heard))
    run.progress.say(" ".join(str(entry[key]) for key in ("step", "what", "probe") if key in entry))
    known = {key: value for key, value in entry.items() if key not in ("epoch", "event")}
    run.record("green", durable=False, **known)


def ended(run: Run, code: int, status: dict[str, Any]) -> None:
    """What the unit says in the end. Raises RestoredError, or watches on after our help."""
    run.pause = status.get("write_pause_seconds")
    run.seconds = per_step(status.get("steps", ()))
    if code == 0:
        run.swapped = True
        return
    why = str(status.get("error") or "the swap was given up")
    if code == 1:
        raise RestoredError(why)
    if status.get("blue_gone"):
        run.swapped = True
        run.note(f"{run.blue.name} died after green had taken over: there is no second copy")
        return
    if status.get("power_off"):
        run.lease.check()
        run.note(f"{run.blue.name} does not answer: it is switched off, so that it cannot write")
        run.site.provider.power_off(run.blue.server.id)
        run.there().program("swap", "confirmed-off", str(status["epoch"]))
        watch(run)
        return
    if status.get("unfence"):
        give_back(run, why)
    raise BakehouseError(f"the swap is stuck: {why}", 'see docs/promote.md, "When it is stuck"')


def rescue(run: Run) -> None:
    """Green is silent. What blue has recorded decides: back, while that loses nothing; else green
    must come back, since it has the newest data.

    Raises RestoredError, or BakehouseError when neither server answers.
    """
    green = run.there()
    run.note(f"{green.name} has not answered for {SILENCE:.0f} s")
    state = settled_state(run.blue)
    if state in ("restored", "serving"):
        raise RestoredError(f"{green.name} stopped answering; {run.blue.name} went back to work")
    provider = run.site.provider
    users = provider.floating_ip(run.site.floating_ip).server
    if state == "fenced" and users != green.server.id:  # there it may have served without blue
        give_back(run, f"{green.name} died before any write reached it")
    run.lease.check()
    found = {server.id: server for server in provider.servers(run.site.name)}
    now = found.get(green.server.id)
    if now is not None and now.status == "off":
        provider.power_on(green.server.id)
    deadline = time.monotonic() + RETURN
    while not reachable(green):
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"{green.name} holds the newest data and does not answer",
                "bring it back at the provider, then `invoke promote --resume`; do not delete it",
            )
        time.sleep(1)


def settled_state(blue: Contact) -> str:
    """Blue's state once it is no longer armed; "" when blue is silent, too."""
    deadline = time.monotonic() + GUARD
    while True:
        try:
            state = str(blue.hand("status")["role"]["state"])
        except BakehouseError:
            state = ""
        if state not in ("armed", "") or time.monotonic() > deadline:
            return state
        time.sleep(1)


def give_back(run: Run, why: str) -> None:
    """Blue is fenced, and green has taken no write: green goes off for certain, blue serves again.

    Always raises RestoredError.
    """
    run.lease.check()
    run.site.provider.power_off(run.there().server.id)
    role = run.blue.hand("status")["role"]
    run.blue.program("guard", "restore", str(role["epoch"]), "--peer-off")
    raise RestoredError(why)


def await_back(run: Run) -> None:
    """Blue is at work again. One that went off meanwhile is switched on, and asks green, which
    must be there until then, whether it may.

    Raises BakehouseError when blue does not come back, or says that it cannot.
    """
    deadline, refused = time.monotonic() + RETURN, 0
    while not at_work(run.blue):
        why = cannot_return(run.blue)
        refused = refused + 1 if why else 0
        if refused == REFUSALS:
            raise BakehouseError(
                f"{run.blue.name} cannot go back to work: {why}",
                "it goes by itself once that is mended (is its disk full?); then "
                "`invoke promote --resume`",
            )
        found = {server.id: server for server in run.site.provider.servers(run.site.name)}
        if run.blue.server.id in found and found[run.blue.server.id].status == "off":
            run.lease.check()
            run.note(f"{run.blue.name} is off, and has the newest data: it is switched on")
            run.site.provider.power_on(run.blue.server.id)
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"{run.blue.name} holds the newest data and has not gone back to work",
                "bring it back at the provider, then `invoke promote --resume`; do not delete it",
            )
        time.sleep(AGAIN)


def cannot_return(blue: Contact) -> str:
    """Tell a server for which nobody takes over to go back to work; why it does not."""
    epoch = returning(blue)
    if not epoch:
        return ""
    try:
        blue.program("guard", "restore", str(epoch))
    except RefusedError as error:
        return error.message if returning(blue) else ""  # its guard may have been quicker
    except UnreachableError:
        return ""
    return ""


def returning(blue: Contact) -> int:
    """The epoch in which, since this boot, it is armed, or was restored and is not at work yet; 0
    when it is neither, or is silent."""
    try:
        role = blue.hand("status")["role"]
    except BakehouseError:
        return 0
    due = role["state"] == "armed" or (role["state"] == "restored" and role["pending"])
    return int(role["epoch"]) if due and role["live"] else 0


def serves(contact: Contact) -> bool:
    """Whether it says that it holds the truth and works."""
    try:
        return bool(contact.hand("status")["role"]["primary"])
    except BakehouseError:
        return False


def at_work(contact: Contact) -> bool:
    """Whether it says that it serves, and all of it was started again."""
    try:
        role = contact.hand("status")["role"]
    except BakehouseError:
        return False
    return bool(role["primary"]) and not role["pending"]


def reachable(contact: Contact) -> bool:
    """Whether it answers at all."""
    try:
        return contact.shell("true", timeout=10).code == 0
    except UnreachableError:
        return False

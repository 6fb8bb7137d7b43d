"""Green's side of a swap: what carries out the steps of `table`, and what a failure means.

    swap prepare    become a warm copy of the peer (the order as JSON on standard input)
    swap start      write the order (same), let bakehouse-swap.service carry it out
    swap alone      the peer is switched off for certain: take over without it (same)
    swap watch      print the journal as it comes; 0 swapped, 1 restored, 2 a person is needed
    swap status     where it is, as JSON
    swap confirmed-off EPOCH    a person's word that the peer is switched off
    swap give-up EPOCH          never take over in this epoch
    swap run        what the unit does

The unit may be killed at any point: it starts again and goes by what the two guards recorded and
what the probes say.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from typing import Final

from . import carrying, orders, prepare, record, state, sync
from .asking import Line, LostError
from .facts import End, Facts, Phase, ended, lacks_time, outcome, pending
from .journal import Journal
from .look import look
from .state import ProgramError
from .swapping import Swap, aged
from .table import TABLE, Step

GONE: Final = 20.0
"""Seconds without an answer from blue, after green claimed, after which green goes on alone."""

DOUBT: Final = 5.0
"""Seconds without an answer to `fence` after which a person is asked to switch blue off."""

STUCK: Final = 60.0
"""Seconds after which a step that goes on failing is told to a person, and goes on."""

LATE: Final = 900.0
"""Seconds that uploads which ran at the hold may take to end."""

BETWEEN: Final = 0.5
"""Seconds between two passes over late files when no answer waits for one."""


@dataclass(frozen=True, slots=True)
class Over:
    """How it ended and why; `unfence`: a person may let blue go back to work."""

    end: End
    why: str = ""
    unfence: bool = False


@dataclass(slots=True)
class Trouble:
    """Since when steps fail, on the monotonic clock (0: none does), and with which words."""

    since: float = 0.0
    why: str = ""

    def lasts(self) -> float:
        """Seconds since the first failure."""
        self.since = self.since or time.monotonic()
        return time.monotonic() - self.since


def carry_out(swap: Swap) -> Over:
    """Step after step until the swap is over, one way or the other."""
    trouble = Trouble()
    swap.facts = look(swap)
    while True:
        swap.order = orders.read() or swap.order
        swap.facts = replace(swap.facts, off=bool(swap.order.get("off")))
        if ended(swap.facts) == "restored":
            return give_back(swap, "blue went back to work")
        step = pending(swap.facts, TABLE)
        if step is None:
            end = outcome(swap.facts)
            return Over(end, "" if end == "swapped" else "blue does not answer")
        assert isinstance(step, Step)
        if lacks_time(aged(swap)):
            return give_back(swap, f"{step.name}: blue's guard would go first")
        try:
            attempt(swap, step)
            trouble = Trouble()
        except (ProgramError, OSError, subprocess.SubprocessError) as error:
            if over := failed(swap, step, error, trouble):
                return over


def attempt(swap: Swap, step: Step) -> None:
    """Do a step and hold what is known then against its gate."""
    begin = time.monotonic()
    swap.journal.write(step.name, "begin")
    swap.facts = step.act(swap)
    if not step.gate(swap.facts):
        raise ProgramError("done, but its gate does not hold")
    swap.journal.write(step.name, "done", seconds=round(time.monotonic() - begin, 4))


def failed(swap: Swap, step: Step, error: Exception, trouble: Trouble) -> Over | None:
    """What the failure means, by the table; None when the swap goes on."""
    why = f"{step.name}: {' '.join(str(error).split())}"
    if trouble.why != why:
        trouble.why = why
        swap.journal.write(step.name, "failed", why=why)
    lasted = trouble.lasts()
    lost = isinstance(error, LostError)
    if step.fails == "stuck":
        return Over("stuck", why, unfence=True)
    if step.fails == "restore" or (step.fails == "doubt" and not lost):
        return give_back(swap, why)
    swap.line.close()
    time.sleep(min(0.1 + lasted / 4, 1.0))
    swap.facts = look(swap)
    silent = lost and not swap.facts.blue and not swap.facts.off
    if step.fails == "retry":
        if silent and lasted > GONE:
            swap.facts = replace(swap.facts, gone=True)
        elif lasted > STUCK:  # claimed alone, it has taken no write: blue may still have it back
            unfence = swap.facts.phase is Phase.CLAIMED
            orders.tell(swap, "stuck", why, final=False, unfence=unfence)
    elif silent:
        swap.facts = replace(swap.facts, blue="armed")  # as far as is known: the fence comes next
        if lasted > DOUBT:
            orders.tell(swap, "stuck", why, final=False, power_off=True)
    return None


def give_back(swap: Swap, why: str) -> Over:
    """Green will not take over in this epoch; blue goes back to work, now or at its deadline."""
    swap.journal.write("restore", "begin", why=why)
    if record.load().state != "gave-up":
        record.give_up(swap.epoch)
    try:
        swap.line.ask("restore", limit=60)
        swap.journal.write("restore", "done")
    except ProgramError as error:
        swap.journal.write("restore", "left to blue's guard", why=str(error))
    return Over("restored", why)


def late_files(swap: Swap) -> None:
    """Carry what requests still write on blue that ran at the hold.

    Their answers wait at blue for the pass that comes after them (`late`). What was deleted here
    since is not carried again, unless the unit was killed in between. Ends when another swap
    begins: the files here are then carried themselves.
    """
    end = time.monotonic() + LATE
    running, passes = swap.late, 0
    while running and time.monotonic() < end:
        if not ours(swap):
            return
        found = carrying.late_pass(swap)
        running = bool(found["running"])  # a last pass after the last request
        passes += 1
        if running and not found["ready"]:
            time.sleep(BETWEEN)
    swap.journal.write("11 late files", "done", passes=passes)


def ours(swap: Swap) -> bool:
    """Whether this swap is still the last one, and this server serves by it."""
    role = record.load()
    return (role.epoch, role.state) == (swap.epoch, "serving")


def see_off(swap: Swap) -> None:
    """`late_files`, in spite of a blue that is silent for a while."""
    end = time.monotonic() + LATE
    while ours(swap) and time.monotonic() < end:
        try:
            late_files(swap)
        except LostError as error:
            swap.journal.write("11 late files", "failed", why=str(error))
            time.sleep(BETWEEN)
        except ProgramError as error:
            swap.journal.write("11 late files", "left", why=str(error))
            break
        else:
            break
    orders.tell(swap, "swapped", "")


def run() -> None:
    """Carry out the order that is there, unless it is already over."""
    order = orders.read()
    over = order and orders.result(order)
    if order is None or (over and not over.get("late")):
        return
    epoch = int(order["epoch"])
    role = record.load()
    if not over and (role.epoch != epoch or role.state == "standby"):
        record.standby(epoch)
    server = state.server()
    facts = Facts(bool(server["postgres"]), "", "standby")
    swap = Swap(order, server, Line(epoch), Journal(epoch), facts)
    if over:  # killed while it carried late files
        swap.facts = replace(swap.facts, followed=bool(over["second_copy"]))
    else:
        carried = carry_out(swap)
        swap.journal.write("end", carried.end, why=carried.why)
        late = carried.end == "swapped" and not swap.facts.alone
        orders.tell(swap, carried.end, carried.why, unfence=carried.unfence, late=late)
        if not late:
            sync.close()
            return
    see_off(swap)
    sync.close()


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="swap", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("prepare", "start", "alone", "watch", "status", "run"):
        verbs.add_parser(verb)
    for verb in ("confirmed-off", "give-up"):
        verbs.add_parser(verb).add_argument("epoch", type=int)
    words = parser.parse_args()
    if words.verb == "run":
        run()
    elif words.verb == "prepare":
        print(json.dumps(prepare.prepare(json.load(sys.stdin))))
    elif words.verb in ("start", "alone"):
        orders.start(json.load(sys.stdin), alone=words.verb == "alone")
    elif words.verb == "watch":
        sys.exit(orders.watch())
    elif words.verb == "confirmed-off":
        orders.confirm_off(words.epoch)
    elif words.verb == "give-up":
        orders.give_up(words.epoch)
    if words.verb in ("status", "alone", "give-up", "confirmed-off"):
        print(json.dumps(orders.status()))


if __name__ == "__main__":
    state.run_program(main)

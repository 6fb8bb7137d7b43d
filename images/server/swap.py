"""Green's side of a swap: the steps 3 to 11 of docs/design.md as a table, and what runs it.

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
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from . import guard, orders, prepare, state, steps, sync
from .asking import Line, LostError, RefusedError
from .facts import End, Facts, Phase, Then, ended, lacks_time, outcome, pending
from .journal import Journal
from .look import look
from .state import ProgramError
from .steps import Swap

GONE: Final = 20.0
"""Seconds without an answer from blue, after green claimed, after which green goes on alone."""

DOUBT: Final = 5.0
"""Seconds without an answer to `fence` after which a person is asked to switch blue off."""

LATE: Final = 900.0
"""Seconds that uploads which ran at the hold may take to end."""


@dataclass(frozen=True, slots=True)
class Step:
    """See `facts.Rule`."""

    name: str
    phase: Phase
    act: Callable[[Swap], Facts]
    gate: Callable[[Facts], bool]
    fails: Then
    needs_blue: bool = True


def _sql(gate: Callable[[Facts], bool]) -> Callable[[Facts], bool]:
    """Without a database there is nothing to do."""
    return lambda facts: not facts.database or gate(facts)


def _still(gate: Callable[[Facts], bool]) -> Callable[[Facts], bool]:
    """Over once blue is fenced: nothing of it can be stopped any further."""
    return lambda facts: facts.blue == "fenced" or gate(facts)


_B, _C, _F = Phase.BEFORE, Phase.CLAIMED, Phase.FORWARD

TABLE: Final = (
    Step("2 warm", _B, steps.warm_up, _still(lambda f: f.warm or f.blue == "armed"), "restore"),
    Step("3 arm", _B, steps.arm, _still(lambda f: f.blue == "armed"), "restore"),
    Step(
        "3 sync",
        _B,
        steps.synchronous,
        _still(_sql(lambda f: f.synchronous or bool(f.lsn))),
        "restore",
    ),
    Step("4 workers", _B, steps.stop_workers, _still(lambda f: f.workers_stopped), "restore"),
    Step("4 settle", _B, steps.settle, _still(lambda f: f.settled or f.held), "restore"),
    Step("4 hold", _B, steps.hold, _still(lambda f: f.held), "restore"),
    Step("5 pause", _B, steps.pause, _still(_sql(lambda f: f.paused or bool(f.lsn))), "restore"),
    Step("6 stop", _B, steps.stop_postgres, _still(_sql(lambda f: bool(f.lsn))), "restore"),
    Step("7 replayed", _B, steps.replayed, _sql(lambda f: f.replayed), "restore"),
    Step("7 files", _B, steps.carry_files, lambda f: f.files, "restore"),
    Step("8 fence", _B, steps.fence, lambda f: f.blue == "fenced", "doubt"),
    Step("9 claim", _B, steps.claim, lambda f: f.green == "claimed", "doubt", needs_blue=False),
    Step("9 promote", _C, steps.promote, lambda f: f.primary, "retry", needs_blue=False),
    Step("9 release", _C, steps.release_apps, lambda f: f.released, "stuck", needs_blue=False),
    Step("10 point", _C, steps.point_pooler, lambda f: f.blue == "following", "retry"),
    Step("10 resume", _F, steps.resume, _sql(lambda f: f.resumed), "retry"),
    Step("10 forward", _F, steps.forward, lambda f: f.forwarded, "retry"),
    Step("10 serve", _F, steps.serve, lambda f: f.green == "serving", "retry", needs_blue=False),
    Step("11 follow", _F, steps.follow, _sql(lambda f: f.followed), "retry"),
    Step("11 reconcile", _F, steps.reconcile, lambda f: f.reconciled, "retry", needs_blue=False),
    Step("11 work", _F, steps.work, lambda f: f.working, "retry", needs_blue=False),
)


def carry_out(swap: Swap) -> End:
    """Step after step until the swap is over, one way or the other."""
    trouble = Trouble()
    swap.facts = look(swap)
    while True:
        swap.order = orders.read() or swap.order
        swap.facts = replace(swap.facts, off=bool(swap.order.get("off")))
        if done := ended(swap.facts):
            return give_back(swap, "blue went back to work") if done == "restored" else done
        step = pending(swap.facts, TABLE)
        if step is None:
            return outcome(swap.facts)
        assert isinstance(step, Step)
        if lacks_time(steps.aged(swap)):
            return give_back(swap, f"{step.name}: blue's guard would go first")
        try:
            attempt(swap, step)
            trouble = Trouble()
        except (ProgramError, OSError, subprocess.SubprocessError) as error:
            why = " ".join(str(error).split())
            swap.journal.write(step.name, "failed", why=why)
            if over := failed(swap, step, error, why, trouble):
                return over


def attempt(swap: Swap, step: Step) -> None:
    """Do a step and hold what is known then against its gate."""
    begin = time.monotonic()
    swap.journal.write(step.name, "begin")
    swap.facts = step.act(swap)
    if not step.gate(swap.facts):
        raise ProgramError("done, but its gate does not hold")
    swap.journal.write(step.name, "done", seconds=round(time.monotonic() - begin, 4))


@dataclass(slots=True)
class Trouble:
    """Since when the same step fails, on the monotonic clock; 0 while none does."""

    since: float = 0.0

    def lasts(self) -> float:
        """Seconds since the first failure."""
        self.since = self.since or time.monotonic()
        return time.monotonic() - self.since


def failed(swap: Swap, step: Step, error: Exception, why: str, trouble: Trouble) -> End | None:
    """What the failure means, by the table; None when the swap goes on."""
    lasted = trouble.lasts()
    if step.fails == "restore":
        return give_back(swap, f"{step.name}: {why}")
    if step.fails == "stuck":
        orders.tell(swap, "stuck", f"{step.name}: {why}", unfence=True)
        return "stuck"
    swap.line.close()
    time.sleep(min(0.1 + lasted / 4, 1.0))
    swap.facts = look(swap)
    if step.fails == "retry":
        if isinstance(error, LostError) and not swap.facts.blue and lasted > GONE:
            swap.facts = replace(swap.facts, gone=True)
        return None
    return doubt(swap, step, error, why, lasted)


def doubt(swap: Swap, step: Step, error: Exception, why: str, lasted: float) -> End | None:
    """Blue was asked to fence itself. Only its own word, or a person's, says what came of it."""
    blue = swap.facts.blue
    if blue == "" and not swap.facts.off:
        if lasted > DOUBT:
            orders.tell(swap, "stuck", f"{step.name}: {why}", power_off=True)
        return None
    if blue == "armed" and isinstance(error, RefusedError):
        return give_back(swap, f"{step.name}: {why}")
    if blue == "fenced" and not isinstance(error, (LostError, RefusedError)):
        return give_back(swap, f"{step.name}: {why}")  # our own guard refused to claim
    return None


def give_back(swap: Swap, why: str) -> End:
    """Green will not take over in this epoch; blue goes back to work, now or at its deadline."""
    swap.journal.write("restore", "begin", why=why)
    if guard.load().state != "gave-up":
        guard.give_up(swap.epoch)
    try:
        swap.line.ask("restore", limit=60)
        swap.journal.write("restore", "done")
    except ProgramError as error:
        swap.journal.write("restore", "left to blue's guard", why=str(error))
    orders.tell(swap, "restored", why)
    return "restored"


def late_files(swap: Swap) -> None:
    """Carry what requests still write on blue that ran at the hold, then end blue's apps.

    What was deleted here since is not carried again, unless the unit was killed in between.
    """
    paths, end = sync.folders(swap.server), time.monotonic() + LATE
    running, passes = swap.late, 0
    while running and time.monotonic() < end:
        running = bool(swap.line.ask("running")["running"])  # a last pass after the last request
        sync.run(paths, "late", swap.known)
        passes += 1
        time.sleep(1 if running else 0)
    swap.line.ask("stop_apps", limit=120)
    swap.journal.write("11 late files", "done", passes=passes)


def run() -> None:
    """Carry out the order that is there, unless it is already over."""
    order = orders.read()
    if order is None or orders.result(order):
        return
    epoch = int(order["epoch"])
    role = guard.load()
    if role.epoch != epoch or role.state == "standby":
        guard.standby(epoch)
    server = state.server()
    facts = Facts(bool(server["postgres"]), "", "standby")
    swap = Swap(order, server, Line(epoch), Journal(epoch), facts)
    end = carry_out(swap)
    swap.journal.write("end", end, durable=True)
    if end == "swapped" or (end == "stuck" and swap.facts.gone):
        orders.tell(swap, end, "" if end == "swapped" else "blue does not answer")
    if end == "swapped" and not swap.facts.alone:
        late_files(swap)
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

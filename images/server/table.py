"""The steps 3 to 11 of a promote, in order: phase, act, gate, and what a failure means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from . import steps
from .facts import Facts, Phase, Then
from .swapping import Swap


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


def _points(facts: Facts) -> bool:
    """Both that blue follows and that its pooler does: it may have died in between."""
    return facts.blue == "following" and (facts.pointed or not facts.database)


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
    Step("10 point", _F, steps.point_pooler, _points, "retry"),
    Step("10 resume", _F, steps.resume, _sql(lambda f: f.resumed), "retry"),
    Step("10 apps", _F, steps.start_apps, lambda f: f.serves, "retry", needs_blue=False),
    Step("10 forward", _F, steps.forward, lambda f: f.forwarded, "retry"),
    Step("10 serve", _F, steps.serve, lambda f: f.green == "serving", "retry", needs_blue=False),
    Step("10 answers", _F, steps.answer_held, lambda f: f.answered, "retry"),
    Step("11 follow", _F, steps.follow, _sql(lambda f: f.followed), "retry"),
    Step("11 reconcile", _F, steps.reconcile, lambda f: f.reconciled, "retry", needs_blue=False),
    Step("11 work", _F, steps.work, lambda f: f.working, "retry", needs_blue=False),
)

"""When what goes wrong in a promote: the table of faults, as data (`happenings` has what is done).

A moment is a line of a journal. Whoever writes it is stopped there, the operator by SIGSTOP and
green's unit by its control group, so that what happens, happens at that step and not near it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, Literal

from images.server.table import TABLE


@dataclass(frozen=True, slots=True)
class Moment:
    """`who` writes a line that says `what` of a step."""

    who: Literal["operator", "unit"]
    what: str
    step: object = None

    def is_in(self, entry: dict[str, Any]) -> bool:
        """Whether it is this line of that one's journal."""
        said = entry.get("event" if self.who == "operator" else "what")
        return (said, entry.get("step")) == (self.what, self.step)


@dataclass(frozen=True, slots=True)
class Case:
    """`what` happens at a moment; `fresh`: to a green that is made for it, where else an old
    standby takes over."""

    what: str
    at: Moment
    fresh: bool = False

    @property
    def name(self) -> str:
        """For the report."""
        step = "" if self.at.step is None else f" {self.at.step}"
        fresh = " fresh" if self.fresh else ""
        return f"{self.what} @ {self.at.what}{step}{fresh}".replace(" ", "-")


def began(number: int) -> Moment:
    """The operator begins a step."""
    return Moment("operator", "begins", number)


def ended(number: int) -> Moment:
    """The operator has seen that a step is done."""
    return Moment("operator", "done", number)


def begin(step: str) -> Moment:
    """Green's unit begins a step."""
    return Moment("unit", "begin", step)


def done(step: str) -> Moment:
    """Green's unit has done a step, or what goes before it (step 2)."""
    return Moment("unit", "done", step)


def boundaries() -> tuple[Moment, ...]:
    """Before and after each of the steps that green's unit does."""
    names = [step.name for step in TABLE if not step.name.startswith("2")]
    found: list[Moment] = []
    for _, group in groupby(names, key=lambda name: name.split()[0]):
        parts = list(group)
        found += [begin(parts[0]), done(parts[-1])]
    return tuple(found)


OPERATOR: Final = (
    Moment("operator", "began"),
    *(ended(number) for number in (0, 1)),
    *(began(2), ended(2), began(3), ended(11)),
    *(at(number) for number in (12, 13, 14) for at in (began, ended)),
)
"""Before and after each step that the operator does: steps 0 and 1 are done by their first probe,
and those between 3 and 11 are `UNIT`'s."""

UNIT_MOMENTS: Final = boundaries()
SYNC, STOPPED, FENCED = done("3 sync"), done("6 stop"), done("8 fence")
CLAIMED, PROMOTED, SERVES = done("9 claim"), done("9 promote"), done("10 serve")
COPYING: Final = done("2 files")

TABLE_OF_FAULTS: Final[dict[str, tuple[Moment, ...]]] = {
    "kill operator": (*OPERATOR, *UNIT_MOMENTS),
    "kill two operators": (SYNC, SERVES, began(12), began(13)),
    "kill operator, green off": (CLAIMED, SERVES, began(12)),
    "kill unit": UNIT_MOMENTS,
    "green off": (SYNC, STOPPED, FENCED, CLAIMED, PROMOTED, SERVES, began(12), began(13)),
    "green reboots": (SYNC, STOPPED, FENCED, CLAIMED, PROMOTED, SERVES),
    "blue off": (COPYING, SYNC, STOPPED, begin("8 fence"), PROMOTED, SERVES, began(12)),
    "blue reboots": (SYNC, STOPPED, FENCED, PROMOTED, SERVES),
    "cut network": (COPYING, SYNC, STOPPED, begin("8 fence"), PROMOTED, SERVES),
    "kill green's Postgres": (SYNC, STOPPED, FENCED, PROMOTED),
    "kill blue's Postgres": (COPYING, SYNC, done("5 pause")),
    "two at once": (began(2), STOPPED, began(12)),
    "steal the lease": (began(2), STOPPED, began(12), began(13)),
    "stop the operator": (began(2), done("5 pause"), began(12)),
    "freeze unit": (SYNC, begin("8 fence")),
    "green's disk full": (COPYING, SYNC, STOPPED),
    "blue's disk full": (COPYING, SYNC, done("4 hold")),
    "IP call fails": (began(12),),
    "IP call goes on failing": (began(12),),
    "IP call answers late": (began(12),),
    "IP call answers after the lease": (began(12),),
}
"""What happens, and the moments at which it hurts."""

FRESH: Final = (
    Case("kill operator", ended(2), fresh=True),
    Case("kill two operators", began(12), fresh=True),
    Case("kill operator, green off", CLAIMED, fresh=True),
    Case("steal the lease", STOPPED, fresh=True),
    Case("green off", FENCED, fresh=True),
    Case("green off", SERVES, fresh=True),
    Case("green reboots", SYNC, fresh=True),
    Case("blue off", STOPPED, fresh=True),
    Case("blue reboots", STOPPED, fresh=True),
    Case("cut network", STOPPED, fresh=True),
)
CASES: Final = (
    *(Case(what, at) for what, moments in TABLE_OF_FAULTS.items() for at in moments),
    *FRESH,
)

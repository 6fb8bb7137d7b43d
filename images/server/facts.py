"""What a swap knows at one moment, and what follows from it: pure, nothing here acts.

Green's own record says how far it went: before it claimed, everything can be undone; once it
claimed, the swap goes forward; once blue follows, writes flow. Within these three phases the probes
say which step is next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal, Protocol

Then = Literal["restore", "doubt", "retry", "stuck"]
"""What a failed step means: blue goes back to work; blue is asked until it is known whether it is
fenced; the same again; a person is needed."""

End = Literal["swapped", "restored", "stuck"]

MARGIN: Final = 5.0
"""Seconds that blue's guard must still wait when the pause begins, and half of it at the fence."""


class Phase(IntEnum):
    """How far it went, by what both servers recorded."""

    BEFORE = 0
    CLAIMED = 1
    FORWARD = 2


@dataclass(frozen=True, slots=True)
class Facts:
    """`blue` and `green` are the states of their guards in this epoch.

    Blue's is "" when it does not answer, and `serving` while it is not armed. `left` is the seconds
    until blue restores itself. What has no probe of its own is False after a restart, so that its
    step is done again.
    """

    database: bool
    blue: str
    green: str
    left: float = 0.0
    off: bool = False
    """A person said that blue is switched off for certain."""
    gone: bool = False
    """Blue stopped answering after green had claimed; green goes on alone."""
    warm: bool = False
    synchronous: bool = False
    workers_stopped: bool = False
    settled: bool = False
    held: bool = False
    paused: bool = False
    lsn: str = ""
    replayed: bool = False
    files: bool = False
    primary: bool = False
    released: bool = False
    pointed: bool = False
    """Blue's pooler leads to green; blue records that it follows a moment before."""
    resumed: bool = False
    serves: bool = False
    """Every web app is up on green."""
    forwarded: bool = False
    answered: bool = False
    """Whoever waits for the answer of a request that ran on at the hold has it."""
    followed: bool = False
    reconciled: bool = False
    working: bool = False

    @property
    def phase(self) -> Phase:
        """See the module's docstring."""
        if self.blue == "following" or self.green == "serving":
            return Phase.FORWARD
        return Phase.CLAIMED if self.green == "claimed" else Phase.BEFORE

    @property
    def alone(self) -> bool:
        """Whether nothing is asked of blue any more."""
        return self.off or self.gone


class Rule(Protocol):
    """What the table says of a step; what it does is none of this module's business."""

    @property
    def name(self) -> str:
        """Its number in the design's table, and a word or two."""

    @property
    def phase(self) -> Phase:
        """Steps of an earlier phase than the facts' are over."""

    @property
    def needs_blue(self) -> bool:
        """Whether it asks blue for anything."""

    @property
    def gate(self) -> Callable[[Facts], bool]:
        """Whether it is done."""

    @property
    def fails(self) -> Then:
        """What it means when it fails."""


def pending(facts: Facts, table: Sequence[Rule]) -> Rule | None:
    """The first step that is not done; None when all are."""
    for rule in table:
        over = rule.phase < facts.phase or (rule.needs_blue and facts.alone)
        if not over and not rule.gate(facts):
            return rule
    return None


def ended(facts: Facts) -> End | None:
    """Whether the records of both servers already decide the swap."""
    if facts.green == "gave-up":
        return "restored"
    if facts.green == "standby" and facts.blue in ("restored", "newer"):
        return "restored"
    return None


def lacks_time(facts: Facts) -> bool:
    """Whether blue's guard could go first; then no further step is begun."""
    if facts.phase > Phase.BEFORE or facts.alone or facts.blue != "armed":
        return False
    return facts.left < (MARGIN / 2 if facts.held else MARGIN)


def outcome(facts: Facts) -> End:
    """What to call it when every step is done: a person is told of a blue that went away."""
    return "stuck" if facts.gone and not facts.off else "swapped"

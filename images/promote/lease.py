"""The lease of a spec: who may change its servers, as numbered notes at the provider.

Notes are called `<spec>-lease-<n>` and made atomically, so one taker wins each number. The newest
is never deleted, so numbers only grow; a holder's number is the epoch that servers compare.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from images.providers.base import Provider
from specs.errors import BakehouseError

TERM: Final = 60.0
"""Seconds that a lease lasts beyond its last renewal."""

MARGIN: Final = 10.0
"""Seconds before its end from which a holder does not trust it: clocks differ, calls last."""

Clock = Callable[[], float]


class LostLeaseError(BakehouseError):
    """Somebody else may act now, or nobody: this run must not change anything any more."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the lease is lost: {why}",
            "nothing more was changed; `invoke status` tells what is, "
            "`invoke promote --resume` goes on with what was begun",
        )


class HeldLeaseError(BakehouseError):
    """Another run holds the lease."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a note says. `expires` is in Unix seconds; `goal` is what its holder wants done."""

    number: int
    owner: str
    expires: float
    held: bool
    goal: Mapping[str, str]

    def ended(self, now: float) -> bool:
        """Whether its holder gave it back or let it run out."""
        return not self.held or now >= self.expires

    @property
    def what(self) -> str:
        """What its holder does, in words."""
        verb, generation = self.goal.get("verb", "a run"), self.goal.get("generation", "")
        return f"{verb} to generation {generation}" if generation else verb

    def labels(self) -> dict[str, str]:
        """As it stands at the provider."""
        state = "held" if self.held else "released"
        ours = {"owner": self.owner, "expires": str(int(self.expires)), "state": state}
        return {**self.goal, **ours}


def newest(provider: Provider, spec: str) -> Claim | None:
    """The note that counts, or None before the first lease.

    Raises BakehouseError when somebody wrote what is no claim.
    """
    pattern = re.compile(rf"{re.escape(spec)}-lease-(\d+)")
    found = [(pattern.fullmatch(n.name), n.labels) for n in provider.notes(f"{spec}-lease-")]
    numbered = [(int(match[1]), labels) for match, labels in found if match]
    if not numbered:
        return None
    number, labels = max(numbered, key=lambda pair: pair[0])
    goal = {k: v for k, v in labels.items() if k not in ("owner", "expires", "state")}
    try:
        held = {"held": True, "released": False}[labels["state"]]
        return Claim(number, labels["owner"], float(labels["expires"]), held, goal)
    except (KeyError, ValueError) as error:
        raise BakehouseError(
            f"{spec}-lease-{number} at {provider.name} is no lease of ours ({error})",
            "look at who wrote it; delete it only when nobody promotes",
        ) from error


@dataclass(slots=True)
class Lease:
    """A lease that this process took. `claim` is what we last wrote, and were confirmed."""

    provider: Provider
    spec: str
    claim: Claim
    clock: Clock = time.time
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def epoch(self) -> int:
        """The number that servers compare."""
        return self.claim.number

    @property
    def name(self) -> str:
        """The note's name."""
        return note_name(self.spec, self.claim.number)

    def check(self) -> None:
        """Raises LostLeaseError unless it is the newest and surely still ours.

        To be asked before each call that changes something at the provider.
        """
        if self.clock() >= self.claim.expires - MARGIN:
            raise LostLeaseError("it was not renewed in time")
        found = newest(self.provider, self.spec)
        if found is None or found.number != self.claim.number or found.owner != self.claim.owner:
            raise LostLeaseError("another run has taken it")

    def renew(self) -> None:
        """Make it last `TERM` seconds from now. Raises LostLeaseError when it is ours no more."""
        with self._lock:
            self.check()
            self._write(self.clock() + TERM, held=True)

    def release(self) -> None:
        """Give it back; the note stays, so that the next number is larger."""
        with self._lock:
            self.check()
            self._write(self.clock(), held=False)

    def amend(self, goal: Mapping[str, str]) -> None:
        """Add to what it says of its goal: whoever goes on with it must know."""
        with self._lock:
            self.check()
            self._write(self.clock() + TERM, held=True, goal={**self.claim.goal, **goal})

    def lapse(self) -> None:
        """Stop before the end: anybody may take it now, and sees that something is unfinished."""
        with self._lock:
            self.check()
            self._write(self.clock(), held=True)

    def _write(self, expires: float, held: bool, goal: Mapping[str, str] | None = None) -> None:
        old = self.claim
        claim = Claim(old.number, old.owner, expires, held, old.goal if goal is None else goal)
        self.provider.change_note(self.name, claim.labels())
        self.claim = claim


def note_name(spec: str, number: int) -> str:
    """The note of the `number`-th lease of a spec."""
    return f"{spec}-lease-{number}"


def take(
    provider: Provider,
    spec: str,
    owner: str,
    goal: Mapping[str, str],
    *,
    clock: Clock = time.time,
    dead: Callable[[str], bool] = lambda _: False,
) -> Lease:
    """Take the lease of a spec, with the next number.

    `dead` tells whether an owner is known to be gone, whose lease need not run out then. Raises
    HeldLeaseError while another run has it, or was quicker.
    """
    last = newest(provider, spec)
    if last is not None and not last.ended(clock()) and not dead(last.owner):
        raise held_error(spec, last, clock())
    claim = Claim(last.number + 1 if last else 1, owner, clock() + TERM, True, dict(goal))
    name = note_name(spec, claim.number)
    if not provider.make_note(name, claim.labels()):
        raise HeldLeaseError(
            f"another run took the lease of {spec} at the same moment",
            "`invoke status` tells what it does",
        )
    lease = Lease(provider, spec, claim, clock)
    try:
        lease.check()
    except LostLeaseError:
        provider.delete_note(name)  # what we read was so old that our number had been used before
        raise
    for note in provider.notes(f"{spec}-lease-"):
        number = note.name.removeprefix(f"{spec}-lease-")
        if number.isdecimal() and int(number) < claim.number:
            provider.delete_note(note.name)
    return lease


def held_error(spec: str, claim: Claim, now: float) -> HeldLeaseError:
    """Who has it, what for, and how long yet."""
    left = max(0, round(claim.expires - now))
    return HeldLeaseError(
        f"another run holds the lease of {spec} (epoch {claim.number}: {claim.what}); "
        f"without a sign of life it ends in {left} s",
        "wait for it: `invoke status` tells what it does",
    )


@contextmanager
def kept(lease: Lease) -> Iterator[None]:
    """Renew the lease while the block runs; what was lost shows at the next `check`."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(TERM / 6):
            try:
                lease.renew()
            except LostLeaseError:
                return
            except BakehouseError:
                continue  # the provider does not answer: again, until the lease has run out

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()

"""A run: what it was asked, what it holds, and what it learnt so far; with the lease around it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from images.history import Journal, journal
from images.progress import Progress
from images.promote.job import Job, Site, known_dead, owner
from images.promote.lease import Claim, Lease, held_error, kept, newest, take
from images.promote.reach import Contact
from images.providers.base import GENERATION, unguarded
from specs.errors import BakehouseError

PAUSE: Final = 1.0
"""Seconds between two looks at somebody else's lease."""


class UnfinishedError(BakehouseError):
    """An earlier run was cut short; what it began comes first."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `pause` is the write pause in seconds, None when there was none.

    `rolled_back` says that the server which served before serves again; `why` then tells why.
    `stopped_after` is the step after which it stopped, as asked; else None.
    """

    generation: int
    server: str
    pause: float | None
    rolled_back: bool = False
    why: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    stopped_after: int | None = None

    def as_data(self) -> dict[str, Any]:
        """For `--json`."""
        data: dict[str, Any] = {
            "generation": self.generation,
            "server": self.server,
            "write_pause_seconds": self.pause,
            "rolled_back": self.rolled_back,
            "seconds": round(self.seconds, 1),
        }
        data |= {"error": self.why} if self.why else {}
        data |= {} if self.stopped_after is None else {"stopped_after": self.stopped_after}
        return data | {"notes": list(self.notes)}


@dataclass(slots=True)
class Run:
    """One run under its lease. `blue` serves when it begins, `green` shall serve in the end.

    `fresh` says that green is made for it, `spares` are other standbys of blue,
    whose poolers lead to blue. `seconds` has the time of each step that green's unit
    did, `pause` the write pause in seconds, `stopped` when it began on the monotonic clock, where
    the run itself makes it. `blue_off` says that blue was switched off, since it was silent.
    `secrets` are values by name, None where a server keeps those that it has.
    """

    job: Job
    lease: Lease
    journal: Journal
    progress: Progress
    blue: Contact
    secrets: Mapping[str, str] | None = field(repr=False)
    green: Contact | None = None
    fresh: bool = True
    spares: tuple[Contact, ...] = ()
    ready: bool = False
    swapped: bool = False
    confirmed: bool = False
    go_back: bool = True
    began: float = field(default_factory=time.monotonic)
    pause: float | None = None
    stopped: float = 0.0
    blue_off: bool = False
    heard: float = 0.0
    """When the newest line was written that we had from green's journal, in Unix seconds."""
    seconds: dict[int, float] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def site(self) -> Site:
        return self.job.site

    @property
    def epoch(self) -> int:
        return self.lease.epoch

    def there(self) -> Contact:
        """Green, which must be there."""
        assert self.green is not None
        return self.green

    def record(self, event: str, *, durable: bool = True, **facts: Any) -> None:
        """A line in the journal; as `Journal.write`."""
        self.journal.write(self.epoch, event, durable=durable, **facts)

    def note(self, line: str) -> None:
        """Something that the person must learn, whatever comes of the run."""
        self.notes.append(line)
        self.progress.note(line)
        self.record("note", said=line)

    def outcome(self, serving: Contact) -> Outcome:
        """How it ended, with this server serving."""
        return Outcome(
            int(serving.server.labels.get(GENERATION, "0")),
            serving.name,
            self.pause,
            seconds=time.monotonic() - self.began,
            notes=tuple(self.notes),
        )


@contextmanager
def leased(
    site: Site, goal: Mapping[str, str], after: Lease | None = None
) -> Iterator[tuple[Lease, Journal]]:
    """Hold the lease of a spec, with a goal that another machine could go on with; in the place of
    `after`, so that at no moment none is held. The provider asks for it before each change.

    Given back by `Lease.release`, when what was begun has come to an end; otherwise it stays, as
    the sign that it has not. Raises HeldLeaseError while another run lives.
    """
    with owner(site) as name:
        site.provider.guard(unguarded)  # the new note ends the lease that `after` is
        own = after.claim.owner if after else ""
        lease = take(
            site.provider, site.name, name, goal, dead=lambda o: o == own or known_dead(site, o)
        )
        site.provider.guard(lease.check)
        try:
            with kept(lease):
                yield lease, journal(site.home, site.name)
        finally:
            if lease.claim.held:
                with suppress(BakehouseError):  # lost: then it is not ours to end
                    lease.lapse()
            site.provider.guard(unguarded)


def refuse_unfinished(site: Site) -> None:
    """Raises HeldLeaseError while another run lives, UnfinishedError when one was cut short."""
    claim = newest(site.provider, site.name)
    if claim is None or not claim.held:
        return
    if not claim.ended(time.time()) and not known_dead(site, claim.owner):
        raise held_error(site.name, claim, time.time())
    raise UnfinishedError(
        f"a run was cut short: {claim.what} (epoch {claim.number})",
        "end it first: `invoke promote --resume`",
    )


def unfinished(site: Site, progress: Progress) -> Claim | None:
    """What an earlier run was to do and did not end, or None. Waits while that run may live."""
    told = False
    while True:
        claim = newest(site.provider, site.name)
        if claim is None or not claim.held:
            return None
        if claim.ended(time.time()) or known_dead(site, claim.owner):
            return claim
        if not told:
            progress.note(held_error(site.name, claim, time.time()).message)
            told = True
        time.sleep(PAUSE)

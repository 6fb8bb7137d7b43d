"""One holder at a time and numbers that only grow, with operators that stall inside a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.promote.lease import (
    MARGIN,
    TERM,
    HeldLeaseError,
    Lease,
    LostLeaseError,
    newest,
    note_name,
    take,
)
from images.providers.base import Note
from specs.errors import BakehouseError
from tests.memory import MemoryProvider


@dataclass
class Clock:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def taken(provider: MemoryProvider, clock: Clock, owner: str = "a") -> Lease:
    return take(provider, "hobby", owner, {"verb": "promote"}, clock=clock)


def test_the_first_lease_is_the_first_epoch() -> None:
    lease = taken(MemoryProvider(), Clock())
    assert lease.epoch == 1
    lease.check()


def test_a_held_lease_is_refused_with_who_and_until_when() -> None:
    provider, clock = MemoryProvider(), Clock()
    taken(provider, clock)
    clock.now += 5
    with pytest.raises(HeldLeaseError, match=r"epoch 1: promote\).*ends in 55 s"):
        taken(provider, clock, "b")


def test_released_and_expired_leases_are_taken_over_with_the_next_number() -> None:
    provider, clock = MemoryProvider(), Clock()
    taken(provider, clock).release()
    second = taken(provider, clock, "b")
    clock.now += TERM
    third = taken(provider, clock, "c")
    assert (second.epoch, third.epoch) == (2, 3)
    with pytest.raises(LostLeaseError):
        second.renew()
    third.check()


def test_a_lease_that_lapsed_is_taken_at_once_and_was_not_given_back() -> None:
    provider, clock = MemoryProvider(), Clock()
    taken(provider, clock).lapse()
    claim = newest(provider, "hobby")
    assert claim is not None and claim.held and claim.ended(clock())
    assert taken(provider, clock, "b").epoch == 2


def test_only_the_newest_note_is_kept() -> None:
    provider, clock = MemoryProvider(), Clock()
    for owner in "abc":
        taken(provider, clock, owner).release()
    assert [note.name for note in provider.notes("hobby-lease-")] == ["hobby-lease-3"]


def test_numbers_are_compared_as_numbers() -> None:
    provider, clock = MemoryProvider(), Clock()
    for _ in range(11):
        taken(provider, clock).release()
    assert taken(provider, clock).epoch == 12


def test_an_owner_known_to_be_dead_need_not_run_out() -> None:
    provider, clock = MemoryProvider(), Clock()
    taken(provider, clock)
    lease = take(provider, "hobby", "b", {}, clock=clock, dead=lambda owner: owner == "a")
    assert lease.epoch == 2


def test_a_lease_about_to_end_is_trusted_no_more() -> None:
    provider, clock = MemoryProvider(), Clock()
    lease = taken(provider, clock)
    clock.now += TERM - MARGIN
    with pytest.raises(LostLeaseError, match="not renewed in time"):
        lease.check()


def test_renewal_makes_it_last() -> None:
    provider, clock = MemoryProvider(), Clock()
    lease = taken(provider, clock)
    for _ in range(10):
        clock.now += TERM / 2
        lease.renew()
    with pytest.raises(HeldLeaseError):
        taken(provider, clock, "b")


def test_other_specs_have_their_own() -> None:
    provider, clock = MemoryProvider(), Clock()
    take(provider, "hobby", "a", {}, clock=clock)
    take(provider, "hobby-lease-1", "a", {}, clock=clock)
    assert take(provider, "hobbyist", "b", {}, clock=clock).epoch == 1
    claim = newest(provider, "hobby")
    assert claim is not None and claim.number == 1


def test_a_note_that_is_no_lease_stops_everything() -> None:
    provider = MemoryProvider()
    provider.make_note(note_name("hobby", 4), {"state": "mine"})
    with pytest.raises(BakehouseError, match="hobby-lease-4 at memory is no lease of ours"):
        taken(provider, Clock())


@dataclass
class Stalling(MemoryProvider):
    """Before each call on notes, others may do whole things of their own."""

    meanwhile: Callable[[], None] = field(default=lambda: None)

    def make_note(self, name: str, labels: Mapping[str, str]) -> bool:
        self.meanwhile()
        return MemoryProvider.make_note(self, name, labels)

    def notes(self, prefix: str) -> Sequence[Note]:
        self.meanwhile()
        return MemoryProvider.notes(self, prefix)

    def change_note(self, name: str, labels: Mapping[str, str]) -> None:
        self.meanwhile()
        MemoryProvider.change_note(self, name, labels)

    def delete_note(self, name: str) -> None:
        self.meanwhile()
        MemoryProvider.delete_note(self, name)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_never_two_holders_whoever_stalls_wherever(data: st.DataObject) -> None:
    """At each instant at most one lease passes its check, and epochs only grow."""
    provider, clock = Stalling(), Clock()
    leases: list[Lease] = []
    epochs: list[int] = []
    depth = 0

    def act() -> None:
        verb = data.draw(st.sampled_from(["take", "take", "renew", "release", "wait"]))
        try:
            if verb == "wait":
                clock.now += data.draw(st.sampled_from([1.0, TERM / 2, TERM + 1]))
            elif verb == "take":
                lease = take(provider, "hobby", f"o{data.draw(st.integers())}", {}, clock=clock)
                leases.append(lease)
                epochs.append(lease.epoch)
            elif leases:
                lease = data.draw(st.sampled_from(leases))
                if not lease._lock.locked():
                    (lease.renew if verb == "renew" else lease.release)()
        except BakehouseError:
            pass

    def meanwhile() -> None:
        nonlocal depth
        if depth < 2 and data.draw(st.booleans()):
            depth += 1
            act()
            depth -= 1

    def holders() -> list[Lease]:
        provider.meanwhile = lambda: None
        found = []
        for lease in leases:
            try:
                lease.check()
            except LostLeaseError:
                continue
            found.append(lease)
        provider.meanwhile = meanwhile
        return found

    provider.meanwhile = meanwhile
    for _ in range(8):
        act()
        held = holders()
        assert len({lease.epoch for lease in held}) <= 1
        assert len(held) <= 1
    assert len(set(epochs)) == len(epochs)

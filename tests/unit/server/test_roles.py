"""A pair of servers, and whatever may befall them: never may both write in one epoch.

The model is nondeterministic where the world is: any command may come at any time, late or twice or
from a process long dead; clocks say anything; answers get lost or come late, but not to another
boot than the one that asked; either server loses its power at any moment, and its record stays. A
person says that a server is off only while it is, and in one epoch only to one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.server import roles
from images.server.roles import RefusedError, Role

HERE = "this boot"
GONE = "a boot that is over"

Asked = tuple[Role, Role, bool]
"""Who asked, as it was then; who answered; whether that was of the answerer's present boot."""


@dataclass(frozen=True, slots=True)
class Server:
    """One of the two. All but its role is lost with its power."""

    role: Role
    up: bool = True
    evidence: frozenset[int] = frozenset()
    """Epochs in which a process of this boot was told that the peer is fenced, or off."""
    alone: frozenset[int] = frozenset()
    """Epochs in which one was told that the peer follows, or is off."""
    orders: frozenset[int] = frozenset()
    """Epochs for which the peer, while it stood by, may have sent the word to arm."""
    answers: frozenset[Asked] = frozenset()
    told: frozenset[int] = frozenset()
    """Epochs in which a person said to this server that the other one is off; never forgotten."""

    def writes(self) -> bool:
        return self.up and roles.may_write(self.role, HERE)


Pair = tuple[Server, Server]
START: Pair = (Server(Role(0, "serving")), Server(Role(0, "standby")))
COMMANDS: tuple[Callable[[Role, int, str], Role], ...] = (
    roles.standby,
    roles.restore,
    roles.retire,
    roles.fence,
    roles.follow,
    roles.give_up,
)


def tried(server: Server, how: Callable[..., Role], *words: object) -> Server | None:
    """The server after a command that changed it."""
    try:
        role = roles.done(how(server.role, *words))
    except RefusedError:
        return None
    return None if role == server.role else replace(server, role=role)


def next_pairs(pair: Pair, epochs: range) -> Iterator[Pair]:
    for who in (0, 1):
        for one, other in moves(pair[who], pair[1 - who], epochs):
            yield (one, other) if who == 0 else (other, one)


def moves(one: Server, other: Server, epochs: range) -> Iterator[Pair]:
    """Everything that may happen to `one` next."""
    if not one.up:
        lost = replace(one.role, boot=GONE if one.role.boot else "")
        yield Server(lost, told=one.told), other
        return
    yield Server(one.role, up=False, told=one.told), other
    for epoch in epochs:
        for command in COMMANDS:
            if after := tried(one, command, epoch, HERE):
                yield after, other
        if other.up and other.role.state == "standby" and other.role.epoch == epoch:
            yield replace(one, orders=one.orders | {epoch}), other
        if epoch in one.orders and (after := tried(one, roles.arm, epoch, HERE, 0.0)):
            yield after, other
        if epoch in one.evidence and (after := tried(one, roles.claim, epoch, HERE)):
            yield after, other
        if epoch in one.alone and (after := tried(one, roles.serve, epoch, HERE)):
            yield after, other
        if not other.up and epoch not in other.told:
            yield from a_person_speaks(one, other, epoch)
        elif other.up and other.role.epoch == epoch:
            if other.role.state == "fenced" and epoch not in one.evidence:
                yield replace(one, evidence=one.evidence | {epoch}), other
            if other.role.state == "following" and epoch not in one.alone:
                yield replace(one, alone=one.alone | {epoch}), other
    if other.up:
        asked = (one.role, other.role, other.role.boot == HERE)
        if after := tried(one, roles.settled, *asked[1:], HERE):
            yield after, other
        if asked not in one.answers:
            yield replace(one, answers=one.answers | {asked}), other
    for mine, theirs, live in one.answers:
        if mine == one.role and (after := tried(one, roles.settled, theirs, live, HERE)):
            yield after, other


def a_person_speaks(one: Server, other: Server, epoch: int) -> Iterator[Pair]:
    one = replace(one, told=one.told | {epoch})
    if after := tried(one, roles.restore, epoch, HERE, "peer-off"):
        yield after, other
    if after := tried(one, roles.claim, epoch, HERE):
        yield replace(after, alone=after.alone | {epoch}), other


def assert_safe(pair: Pair) -> None:
    first, second = pair
    both = first.writes() and second.writes()
    assert not both or first.role.epoch != second.role.epoch, f"{first.role} and {second.role}"
    for server in pair:
        if not roles.may_write(server.role, HERE):
            assert not roles.may_start(server.role, HERE, "worker", True)
            assert not roles.may_start(server.role, HERE, "cron", True)
            assert not roles.may_start(server.role, HERE, "postgres", False)


def explore(epochs: range, most_answers: int) -> int:
    """Look at every pair that can come to be, each once, and count them.

    Each server has at most so many answers that it has not heeded yet.
    """
    seen, todo = {START}, [START]
    while todo:
        pair = todo.pop()
        assert_safe(pair)
        for found in next_pairs(pair, epochs):
            if found not in seen and all(len(s.answers) <= most_answers for s in found):
                seen.add(found)
                todo.append(found)
    return len(seen)


def test_in_one_epoch_nothing_makes_two_writers() -> None:
    assert explore(range(1, 2), 0) > 500


@pytest.mark.full
def test_nor_do_answers_that_come_late() -> None:
    assert explore(range(1, 2), 1) > 10_000


@pytest.mark.full
def test_in_two_epochs_neither() -> None:
    assert explore(range(1, 3), 0) > 10_000


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_on_no_way_through_three_epochs(data: st.DataObject) -> None:
    pair = START
    for _ in range(40):
        ways = list(next_pairs(pair, range(1, 4)))
        pair = ways[data.draw(st.integers(0, len(ways) - 1))]
        assert_safe(pair)


EDGES = st.floats(allow_nan=False)


@given(deadline=EDGES, now=EDGES)
def test_a_clock_ends_only_what_this_boot_armed(deadline: float, now: float) -> None:
    armed = roles.arm(Role(0, "serving"), 1, HERE, deadline)
    assert roles.expired(armed, HERE, now) is (now >= deadline)
    assert not roles.expired(armed, GONE, now)
    assert not roles.expired(roles.fence(armed, 1, HERE), HERE, now)


def test_armed_is_left_once() -> None:
    armed = roles.arm(Role(4, "serving"), 5, HERE, 1.0)
    fenced, restored = roles.fence(armed, 5, HERE), roles.restore(armed, 5, HERE)
    with pytest.raises(RefusedError, match="restore 5: refused, this server is fenced"):
        roles.restore(fenced, 5, HERE)
    with pytest.raises(RefusedError, match="fence 5: refused, this server is restored"):
        roles.fence(restored, 5, HERE)
    with pytest.raises(RefusedError, match="epoch 4 is over"):
        roles.arm(armed, 4, HERE, 1.0)


def test_a_swap_that_goes_well() -> None:
    blue, green = Role(0, "serving"), roles.standby(Role(0, "standby"), 1, HERE)
    blue = roles.fence(roles.arm(blue, 1, HERE, 1.0), 1, HERE)
    green = roles.claim(green, 1, HERE)
    with pytest.raises(RefusedError, match="give up 1"):
        roles.give_up(green, 1, HERE)
    blue, green = roles.follow(blue, 1, HERE), roles.serve(green, 1, HERE)
    assert (blue.state, green.state) == ("following", "serving")
    with pytest.raises(RefusedError):
        roles.restore(blue, 1, HERE, "peer-off")
    assert roles.may_start(green, GONE, "worker", False)
    assert roles.standby(blue, 2, HERE).state == "standby"


def test_what_one_that_comes_back_learns() -> None:
    claimed = Role(7, "claimed", HERE, claimed=7)
    armed = Role(7, "armed", GONE, 1.0)
    assert roles.settled(armed, claimed, True, HERE).state == "fenced"
    assert roles.settled(armed, Role(7, "standby", HERE), True, HERE) == armed
    assert roles.settled(armed, Role(7, "gave-up", HERE), True, HERE).state == "serving"
    given_up = roles.settled(
        Role(6, "serving", GONE), replace(claimed, state="serving"), True, HERE
    )
    assert (given_up.epoch, given_up.state) == (7, "fenced")
    rebooted = replace(claimed, boot=GONE)
    assert not roles.may_write(rebooted, HERE)
    assert roles.settled(rebooted, Role(7, "fenced", GONE), False, HERE) == claimed
    assert roles.settled(rebooted, Role(7, "following", GONE), False, HERE).state == "serving"
    assert roles.settled(rebooted, Role(7, "restored", GONE), False, HERE) == rebooted
    assert roles.settled(rebooted, Role(7, "restored", HERE), True, HERE).state == "gave-up"

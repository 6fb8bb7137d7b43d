"""The role that this server has, recorded: one file, one lock, one clock.

The rules are in `roles`; whoever changes the role does it here. The clock counts from boot, so that
nobody's correction of the time ends or stretches a deadline. A damaged file starts nothing.
"""

from __future__ import annotations

import fcntl
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from typing import Any, Final

from . import roles, state
from .roles import STATES, Kind, RefusedError, Role
from .state import ProgramError

Change = Callable[[Role], Role]

LONGEST: Final = 120.0
"""Seconds that an armed server may be told to wait: twice as long as any swap does."""


def load() -> Role:
    """What is recorded; before the first swap, what boot.json says.

    Raises ProgramError when the record is damaged: then nothing may start.
    """
    path = state.ROLE
    if not path.exists():
        standing = state.boot()["role"] == "standby"
        return Role(0, "standby" if standing else "serving")
    return parsed(state.read_json(path), str(path))


def parsed(data: Any, name: str) -> Role:
    """A role from JSON. Raises ProgramError for anything that `dump` would not have written."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "epoch": int,
        "state": str,
        "boot": str,
        "deadline": (int, float),
        "pending": bool,
        "claimed": int,
    }
    good = (
        isinstance(data, dict)
        and set(kinds) <= set(data)
        and all(isinstance(data[key], kind) for key, kind in kinds.items())
        and data["state"] in STATES
        and type(data["epoch"]) is int
        and data["epoch"] >= 0
    )
    if not good:
        raise ProgramError(
            f"{name} is damaged: nothing that writes starts here; see docs/promote.md, `damaged`"
        )
    return Role(**{field.name: data[field.name] for field in fields(Role)})


def store(role: Role) -> None:
    """Record the role, also against a power failure."""
    state.write(state.ROLE, json.dumps(asdict(role)) + "\n", mode=0o644)


@contextmanager
def locked() -> Iterator[None]:
    """The one lock: whoever changes the role holds it. The kernel drops it with its holder."""
    with (state.LIB / "role.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def change(how: Change, then: Callable[[Role], None] = lambda _: None) -> Role:
    """The new role, recorded, and what `then` makes of it before anybody else may change it.

    Raises ProgramError, with the role as it stays, when the rules refuse.
    """
    with locked():
        old = load()
        try:
            new = how(old)
        except RefusedError as refusal:
            raise ProgramError(str(refusal)) from refusal
        if new != old:
            store(new)
        then(new)
        if new != old:
            with suppress(OSError):  # whoever asked may be gone; what was recorded is to be done
                print(f"guard: {told(old)} → {told(new)}", file=sys.stderr, flush=True)
        return new


def told(role: Role) -> str:
    """A role in words."""
    return f"{role.state} in epoch {role.epoch}"


def now() -> float:
    """Seconds since boot, also those asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def expect(epoch: int) -> None:
    """The operator's run lets the peer arm this server in this epoch and in no other, 0: in none.

    As long as this boot lasts; only root can say so.
    """
    state.folder(state.RUN, 0o755)
    state.write(state.EXPECTED, f"{epoch}\n")


def refuse_unexpected(epoch: int) -> None:
    """Raises ProgramError unless this epoch was announced since this server booted."""
    told = state.EXPECTED.read_text().strip() if state.EXPECTED.exists() else ""
    if told != str(epoch) or epoch <= 0:
        raise ProgramError(
            f"arm {epoch}: refused, no run of the operator announced this epoch to this server "
            f"(guard expect {epoch}); a version of Bakehouse as new as its image does"
        )


def arm(epoch: int, seconds: float) -> Role:
    """Recorded: without a word this server goes back to work after `seconds`.

    Raises ProgramError for more than `LONGEST`, and for what is no time.
    """
    if not 0 < seconds <= LONGEST:
        raise ProgramError(f"arm {epoch}: {seconds:g} s: more than 0 and at most {LONGEST:g}")
    return change(lambda role: roles.arm(role, epoch, state.boot_id(), now() + seconds))


def standby(epoch: int) -> Role:
    """Recorded: this server may be asked to take over in this epoch."""
    return change(lambda role: roles.standby(role, epoch, state.boot_id()))


def claim(epoch: int, evidence: Mapping[str, Any] | str) -> Role:
    """Recorded: this server takes over. From now on it does not give up.

    `evidence` is the answer that the peer's hand gave to `fence` in this very boot, or `peer-off`
    for a person's word. Raises ProgramError when it proves nothing.
    """
    boot = state.boot_id()
    if isinstance(evidence, str):
        proven = evidence == "peer-off"
    else:
        proven = (
            evidence.get("ok") is True
            and evidence.get("state") == "fenced"
            and evidence.get("epoch") == epoch
            and evidence.get("asked_by") == boot
        )
    if not proven:
        raise ProgramError(
            f"claim {epoch}: this does not prove that the peer is fenced: {evidence}"
        )
    return change(lambda role: roles.claim(role, epoch, boot))


def serve(epoch: int) -> Role:
    """Recorded: this server serves for good."""
    return change(lambda role: roles.serve(role, epoch, state.boot_id()))


def appoint(epoch: int) -> Role:
    """Recorded: this server serves, whatever it was. Raises ProgramError on a server of a pair."""
    if state.server()["data"]["strategy"] == "replica":
        raise ProgramError(f"appoint {epoch}: refused, this server's data is a replica")
    return change(lambda role: roles.appoint(role, epoch, state.boot_id()))


def give_up(epoch: int) -> Role:
    """Recorded: this server never takes over in this epoch."""
    return change(lambda role: roles.give_up(role, epoch, state.boot_id()))


def follow(epoch: int) -> Role:
    """Recorded: this server cannot be restored in this epoch any more."""
    return change(lambda role: roles.follow(role, epoch, state.boot_id()))


def fence(epoch: int, then: Callable[[Role], None]) -> Role:
    """Recorded: this server writes no more in this epoch; `then` makes its files say so, too."""
    return change(lambda role: roles.fence(role, epoch, state.boot_id()), then)


def may_start(kind: Kind) -> bool:
    """Whether such a unit may start now."""
    return roles.may_start(load(), state.boot_id(), kind, _standby_signal())


def _standby_signal() -> bool:
    """Whether Postgres would start as a standby."""
    postgres = state.server()["postgres"]
    return bool(
        postgres and (state.cluster_folder(int(postgres["version"])) / "standby.signal").exists()
    )


def status() -> dict[str, Any]:
    """The role, and what follows from it now."""
    role, boot = load(), state.boot_id()
    left = max(role.deadline - now(), 0.0) if role.state == "armed" and role.boot == boot else None
    return {
        **asdict(role),
        "live": role.boot == boot,
        "primary": roles.primary(role, boot),
        "open": roles.open_question(role, boot),
        "left": left,
        "boot_id": boot,
    }

"""Blue's dead-man and fence, and the gate of all that writes: one recorded role, under one lock.

    guard status                     the role as JSON
    guard may-start WHAT             may postgres, pooler, worker or cron start? (exit 0 or 1)
    guard arm EPOCH SECONDS          go back to work by itself after so many seconds
    guard fence|retire|follow|standby|serve|give-up EPOCH
    guard appoint EPOCH              where nothing is copied: no other server works, this one does
    guard restore EPOCH [--peer-off] go back to work; --peer-off: the peer is known to be off
    guard claim EPOCH --peer-off     take over from a peer that is known to be off
    guard boot                       at boot: ask the peer when this server may not decide alone
    guard watch                      the dead-man (bakehouse-guard.service)

The rules are in `roles`; here they meet a file, a lock and a clock. The clock counts from boot, so
that nobody's correction of the time ends or stretches a deadline. A damaged file starts nothing.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from typing import Any, Final

from . import roles, state
from .roles import KINDS, STATES, Kind, Proof, RefusedError, Role
from .state import ProgramError

TICK: Final = 0.5
"""Seconds between two looks at the deadline."""

ASK: Final = 2.0
"""Seconds between two questions to a peer whose answer is needed."""

Change = Callable[[Role], Role]


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


def arm(epoch: int, seconds: float) -> Role:
    """Recorded: without a word this server goes back to work after `seconds`."""
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


def restore(epoch: int, proof: Proof = "") -> Role:
    """Recorded, then done: this server is back at work. Raises ProgramError when refused."""
    from . import acts  # noqa: PLC0415  the gate starts faster without it

    change(lambda role: roles.restore(role, epoch, state.boot_id(), proof), acts.fit_files)
    return finish()


def finish() -> Role:
    """Do what a restored or settled server still has to; again after a kill."""
    from . import acts  # noqa: PLC0415

    role = load()
    if role.pending:
        acts.back_to_work()
        role = change(lambda found: roles.done(found) if found == role else found)
    return role


def settle() -> Role:
    """Ask the peer when its answer would change anything, and obey. No answer changes nothing."""
    from . import acts, peer  # noqa: PLC0415

    role, boot = load(), state.boot_id()
    if not peer.known() or not (roles.open_question(role, boot) or role.boot != boot):
        return role
    asks = role.state in ("armed", "restored")
    question = {"do": "give_up", "epoch": role.epoch} if asks else {"do": "status"}
    answer = peer.ask(question)
    if "role" not in answer:
        return role
    theirs = parsed(answer["role"], "the peer's answer")
    live = answer["role"].get("live") is True

    def obey(found: Role) -> Role:
        return roles.settled(found, theirs, live, boot) if found == role else found

    return change(obey, acts.fit_files)


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


def at_boot() -> None:
    """Before anything that writes may start: what the peer says, if it is there to be asked."""
    from . import holding  # noqa: PLC0415

    try:
        role = settle()
    except ProgramError as error:
        print(f"<4>guard: the peer was asked in vain: {error}", file=sys.stderr)
        role = load()
    if role.state == "following":
        holding.forward()  # what still arrives here must not meet files that are old
    print(f"guard: this server is {told(role)}", flush=True)


def watch() -> None:
    """Go back to work when the deadline passes; ask the peer while a question is open. Forever."""
    asked = -ASK
    while True:
        try:
            role = load()
            if roles.expired(role, state.boot_id(), now()):
                print(f"<4>guard: nobody ended epoch {role.epoch} in time", file=sys.stderr)
                role = restore(role.epoch)
            if role.pending:
                role = finish()
            if roles.open_question(role, state.boot_id()) and now() > asked + ASK:
                asked = now()
                settle()
        except (ProgramError, OSError) as error:
            print(f"<3>guard: {' '.join(str(error).split())}", file=sys.stderr, flush=True)
        time.sleep(TICK)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="guard", description=(__doc__ or "").splitlines()[0])
    verbs = result.add_subparsers(dest="verb", required=True)
    for verb in ("status", "boot", "watch"):
        verbs.add_parser(verb)
    verbs.add_parser("may-start").add_argument("what", choices=KINDS)
    for verb in ("arm", "fence", "retire", "follow", "standby", "serve", "give-up", "appoint"):
        verbs.add_parser(verb).add_argument("epoch", type=int)
    verbs.choices["arm"].add_argument("seconds", type=float)
    for verb in ("restore", "claim"):
        named = verbs.add_parser(verb)
        named.add_argument("epoch", type=int)
        named.add_argument("--peer-off", action="store_true")
    return result


def main() -> None:
    """Do what the command line says."""
    words = parser().parse_args()
    if words.verb == "may-start":
        try:
            sys.exit(0 if may_start(words.what) else 1)
        except ProgramError as error:
            print(f"<3>{error}", file=sys.stderr)
            sys.exit(255)  # a failure to systemd, where 1 is a condition that does not hold
    if words.verb in ("watch", "boot"):
        watch() if words.verb == "watch" else at_boot()
        return
    _command(words)
    print(json.dumps(status()))


def _command(words: argparse.Namespace) -> None:
    from . import acts  # noqa: PLC0415

    if words.verb == "arm":
        arm(words.epoch, words.seconds)
    elif words.verb == "fence":
        fence(words.epoch, acts.fit_files)
    elif words.verb == "retire":
        acts.retire(words.epoch)
    elif words.verb == "appoint":
        appoint(words.epoch)
        acts.begin_work()
    elif words.verb == "restore":
        restore(words.epoch, "peer-off" if words.peer_off else "")
    elif words.verb == "claim":
        claim(words.epoch, "peer-off" if words.peer_off else "")
    elif words.verb != "status":
        plain = {"follow": follow, "standby": standby, "serve": serve, "give-up": give_up}
        plain[words.verb](words.epoch)


if __name__ == "__main__":
    state.run_program(main)

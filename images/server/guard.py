"""Blue's dead-man and fence, and the gate of all that writes: one recorded role, under one lock.

    guard status                     the role as JSON
    guard may-start WHAT             may postgres, pooler, worker or cron start? (exit 0 or 1)
    guard expect EPOCH               the operator's run lets the peer arm this server then; 0: never
    guard arm EPOCH SECONDS          go back to work by itself after so many seconds
    guard fence|retire|follow|standby|serve|give-up EPOCH
    guard appoint EPOCH              where nothing is copied: no other server works, this one does
    guard restore EPOCH [--peer-off] go back to work; --peer-off: the peer is known to be off
    guard claim EPOCH --peer-off     take over from a peer that is known to be off
    guard boot                       at boot: ask the peer when this server may not decide alone
    guard watch                      the dead-man (bakehouse-guard.service)

The rules are in `roles`, the role is in `record`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Final

from . import record, roles, state
from .record import change, load, now, parsed, told
from .roles import KINDS, Proof, Role
from .state import ProgramError

TICK: Final = 0.5
"""Seconds between two looks at the deadline."""

ASK: Final = 2.0
"""Seconds between two questions to a peer whose answer is needed."""


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
    numbered = ("expect", "arm", "fence", "retire", "follow", "standby", "serve", "give-up")
    for verb in (*numbered, "appoint"):
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
            sys.exit(0 if record.may_start(words.what) else 1)
        except ProgramError as error:
            print(f"<3>{error}", file=sys.stderr)
            sys.exit(255)  # a failure to systemd, where 1 is a condition that does not hold
    if words.verb in ("watch", "boot"):
        watch() if words.verb == "watch" else at_boot()
        return
    _command(words)
    print(json.dumps(record.status()))


def _command(words: argparse.Namespace) -> None:
    from . import acts  # noqa: PLC0415

    if words.verb == "expect":
        record.expect(words.epoch)
    elif words.verb == "arm":
        record.arm(words.epoch, words.seconds)
    elif words.verb == "fence":
        record.fence(words.epoch, acts.fit_files)
    elif words.verb == "retire":
        acts.retire(words.epoch)
    elif words.verb == "appoint":
        record.appoint(words.epoch)
        acts.begin_work()
    elif words.verb == "restore":
        restore(words.epoch, "peer-off" if words.peer_off else "")
    elif words.verb == "claim":
        record.claim(words.epoch, "peer-off" if words.peer_off else "")
    elif words.verb != "status":
        plain = {
            "follow": record.follow,
            "standby": record.standby,
            "serve": record.serve,
            "give-up": record.give_up,
        }
        plain[words.verb](words.epoch)


if __name__ == "__main__":
    state.run_program(main)

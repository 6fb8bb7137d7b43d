"""Which of two servers may write: the rules of one swap, as pure functions of what is recorded.

Each server of a pair records one `Role`. A swap has a number, its epoch; blue serves, green is to
take over:

    blue   serving → armed → restored → serving        or  armed → fenced → following
    green  standby → claimed → serving                  or  standby → gave-up

`armed` becomes `restored` or `fenced`, once. Green claims only when blue is fenced, or is switched
off. What hangs on the other server is good for the boot in which it was recorded: one that was
switched off meanwhile may have been given up, so after a reboot an armed, restored or claimed
server writes nothing before it heard from the other one (`settled`), or from a person who knows the
other one to be off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

State = Literal[
    "serving", "armed", "restored", "fenced", "following", "standby", "claimed", "gave-up"
]
STATES: Final[frozenset[str]] = frozenset(get_args(State))

Proof = Literal["", "gave-up", "peer-off"]
"""Why the other server will not write in this epoch: nothing, its own promise, a person's word that
it is switched off."""

Kind = Literal["postgres", "pooler", "worker", "cron"]
KINDS: Final[tuple[Kind, ...]] = ("postgres", "pooler", "worker", "cron")


class RefusedError(Exception):
    """A command that does not fit what is recorded; its text says what is."""


@dataclass(frozen=True, slots=True)
class Role:
    """What one server recorded.

    `boot` is the id of the boot that the state belongs to, `deadline` seconds on the clock that
    counts from boot (`armed` only), `pending` says that the server is still to be put back to work,
    `claimed` is the last epoch in which it took over.
    """

    epoch: int
    state: State
    boot: str = ""
    deadline: float = 0.0
    pending: bool = False
    claimed: int = 0


def arm(role: Role, epoch: int, boot: str, deadline: float) -> Role:
    """Blue will go back to work by itself at the deadline, unless it is fenced before."""
    _not_older(role, epoch)
    again = role.state == "armed" and role.epoch == epoch and role.boot == boot
    if again or (primary(role, boot) and role.epoch < epoch and not role.pending):
        return _to(role, "armed", epoch, boot, deadline=deadline)
    raise _refused(role, f"arm {epoch}")


def expired(role: Role, boot: str, now: float) -> bool:
    """Whether an armed server's deadline has passed, in the boot that armed it."""
    return role.state == "armed" and role.boot == boot and now >= role.deadline


def restore(role: Role, epoch: int, boot: str, proof: Proof = "") -> Role:
    """Blue goes back to work: by itself in the boot that armed it, later with a proof only."""
    _not_older(role, epoch)
    here = role.boot == boot
    if role.epoch == epoch:
        if role.state == "serving" or (role.state == "restored" and here and not proof):
            return role
        if role.state == "restored" and proof:
            return _to(role, "serving", epoch, boot, pending=role.pending or not here)
        if role.state == "armed" and (here or proof):
            return _to(role, "serving" if proof else "restored", epoch, boot, pending=True)
        if role.state == "fenced" and proof:
            return _to(role, "serving", epoch, boot, pending=True)
    raise _refused(role, f"restore {epoch}" + (f" ({proof})" if proof else ""))


def fence(role: Role, epoch: int, boot: str) -> Role:
    """Blue writes no more in this epoch, whatever happens to it."""
    _not_older(role, epoch)
    if role.epoch == epoch and role.state == "fenced":
        return role
    if role.epoch == epoch and role.state == "armed":
        return _to(role, "fenced", epoch, boot)
    raise _refused(role, f"fence {epoch}")


def retire(role: Role, epoch: int, boot: str) -> Role:
    """As `fence`, for a server that was given up and comes back: the other serves a newer epoch."""
    if epoch > role.epoch and role.state in ("serving", "restored", "armed"):
        return _to(role, "fenced", epoch, boot)
    return fence(role, epoch, boot)


def appoint(role: Role, epoch: int, boot: str) -> Role:
    """Where nothing is copied: the lease's holder knows that no other server works, and says so."""
    _not_older(role, epoch)
    return _to(role, "serving", epoch, boot)


def follow(role: Role, epoch: int, boot: str) -> Role:
    """The point of no return, on blue: it cannot be restored in this epoch any more."""
    _not_older(role, epoch)
    if role.epoch == epoch and role.state in ("fenced", "following"):
        return _to(role, "following", epoch, boot)
    raise _refused(role, f"follow {epoch}")


def standby(role: Role, epoch: int, boot: str) -> Role:
    """Green may be asked to take over in this epoch."""
    _not_older(role, epoch)
    same = role.state == "standby"
    older = role.epoch < epoch and role.state in ("following", "gave-up", "fenced")
    if same or older:
        return _to(role, "standby", epoch, boot)
    raise _refused(role, f"standby {epoch}")


def claim(role: Role, epoch: int, boot: str) -> Role:
    """Green takes over: recorded before Postgres is promoted. The caller has the evidence."""
    _not_older(role, epoch)
    if role.epoch == epoch and role.state == "standby":
        return _to(role, "claimed", epoch, boot)
    if role.epoch == epoch and role.state == "claimed" and role.boot == boot:
        return role
    raise _refused(role, f"claim {epoch}")


def serve(role: Role, epoch: int, boot: str) -> Role:
    """Green serves for good: blue follows it, or is switched off."""
    _not_older(role, epoch)
    if role.epoch == epoch and role.state == "serving":
        return role
    if role.epoch == epoch and role.state == "claimed" and role.boot == boot:
        return _to(role, "serving", epoch, boot)
    raise _refused(role, f"serve {epoch}")


def give_up(role: Role, epoch: int, boot: str) -> Role:
    """Green promises never to take over in this epoch."""
    _not_older(role, epoch)
    if role.state in ("gave-up", "standby"):
        return _to(role, "gave-up", epoch, boot)
    if role.state == "following" and role.epoch < epoch:
        return _to(role, "gave-up", epoch, boot)
    raise _refused(role, f"give up {epoch}")


def done(role: Role) -> Role:
    """The server is back at work."""
    return replace(role, pending=False)


def settled(role: Role, peer: Role, live: bool, boot: str) -> Role:
    """What becomes of this server once the other one told its role; unchanged if nothing.

    `live`: the other's state is of its present boot. One that promised not to take over in an epoch
    cannot do so later, in whatever epoch it stands by now.
    """
    here = role.boot == boot
    idle = peer.state in ("gave-up", "standby", "following")
    past = peer.epoch > role.epoch or (peer.state == "gave-up" and peer.epoch == role.epoch)
    if role.state in ("armed", "restored", "fenced"):
        if idle and past and peer.claimed < role.epoch:
            return restore(role, role.epoch, boot, "gave-up")
        if role.state != "fenced" and not here and peer.claimed >= role.epoch:
            return _to(role, "fenced", peer.epoch, boot)
    if role.state == "serving" and not here and peer.claimed > role.epoch:
        return _to(role, "fenced", peer.epoch, boot)
    if role.state == "claimed" and not here:
        return _claim_settled(role, peer, live, boot)
    return role


def _claim_settled(role: Role, peer: Role, live: bool, boot: str) -> Role:
    if peer.epoch == role.epoch and peer.state == "fenced":
        return replace(role, boot=boot)
    if peer.epoch == role.epoch and peer.state == "following":
        return _to(role, "serving", role.epoch, boot, pending=True)
    if peer.epoch >= role.epoch and (
        peer.state == "serving" or (peer.state == "restored" and live)
    ):
        return _to(role, "gave-up", role.epoch, boot)
    return role


def open_question(role: Role, boot: str) -> bool:
    """Whether the other server's answer would change what this one may do."""
    if role.state in ("restored", "fenced"):
        return True
    return role.state in ("armed", "claimed") and role.boot != boot


def primary(role: Role, boot: str) -> bool:
    """Whether this server holds the truth and does all its work."""
    return role.state == "serving" or (role.state == "restored" and role.boot == boot)


def may_start(role: Role, boot: str, kind: Kind, standby_signal: bool) -> bool:
    """Whether such a unit may start now. `standby_signal`: Postgres would start as a standby.

    An armed server's Postgres is not started again before the swap is over, so one that was
    stopped stays so; its pooler may be, since it holds nothing that is not in Postgres.
    """
    if primary(role, boot):
        return True
    if role.state in ("standby", "gave-up", "following"):
        return kind == "pooler" or (kind == "postgres" and standby_signal)
    if role.boot != boot:
        return False
    return kind == "pooler" if role.state == "armed" else _claimed(role, kind)


def _claimed(role: Role, kind: Kind) -> bool:
    return role.state == "claimed" and kind in ("postgres", "pooler")


def may_write(role: Role, boot: str) -> bool:
    """Whether Postgres may be writable here in any way: what must never hold on two servers."""
    return primary(role, boot) or (role.state in ("armed", "claimed") and role.boot == boot)


def _to(
    role: Role,
    state: State,
    epoch: int,
    boot: str,
    *,
    deadline: float = 0.0,
    pending: bool = False,
) -> Role:
    claimed = epoch if state == "claimed" else role.claimed
    return Role(epoch, state, boot, deadline, pending, claimed)


def _not_older(role: Role, epoch: int) -> None:
    if epoch < role.epoch:
        raise RefusedError(f"epoch {epoch} is over: this server is {role.state} in {role.epoch}")


def _refused(role: Role, what: str) -> RefusedError:
    return RefusedError(f"{what}: refused, this server is {role.state} in epoch {role.epoch}")

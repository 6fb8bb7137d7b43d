"""Step 2: a server of the image that follows blue, ready to take over; and the way back from it."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Final

from images.hosts.certificates import renew_all
from images.promote import pair, preflight, records
from images.promote.goal import OVER, Goal
from images.promote.job import GIVEN_UP
from images.promote.observe import REUSABLE, World
from images.promote.reach import Contact, RefusedError, UnreachableError
from images.promote.runs import Run
from images.providers.base import EPOCH, GENERATION, IMAGE
from images.secrets.deliver import deliver
from specs.errors import BakehouseError

HEARD: Final = 10.0
"""Seconds in which blue's guard, which asks each 2 s, hears what its peer has promised."""

AGAIN: Final = 0.5
"""Seconds from one look at that to the next."""

UNKNOWN: Final = "invalid choice: 'expect'"
"""What a guard says, as argparse does, that has no such verb: its hand does not ask for it."""

PREPARE: Final = 6 * 3600.0
"""Seconds that the first copy of a large database may take."""


def standing(world: World, image: str, blue: str) -> str:
    """The id of a server of this image that may take over from blue, since it follows; or ""."""
    fit = [
        seen
        for seen in world.servers
        if (seen.image, seen.state in REUSABLE) == (image, True)
        and seen.name != blue
        and seen.label != GIVEN_UP
    ]
    newest = max(fit, key=lambda seen: (seen.epoch, seen.name), default=None)
    return newest.contact.server.id if newest else ""


def find(world: World, goal: Goal) -> Contact | None:
    """The server that shall serve, as it is by now: also one that has taken over, or is off.

    One that is made for the goal is known by its labels, which are of no epoch before it.
    """
    servers = [seen.contact for seen in world.servers if seen.label != GIVEN_UP]
    for one in servers:
        if one.server.id == goal.green:
            return one
    made = [
        one
        for one in servers
        if one.server.labels.get(IMAGE) == goal.job.image.id
        and one.name != goal.blue
        and 0 < goal.begun <= epoch_of(one)
    ]
    return max(made, key=lambda one: (epoch_of(one), one.name), default=None)


def epoch_of(contact: Contact) -> int:
    """The epoch in which it got its role, by its label."""
    label = contact.server.labels.get(EPOCH, "")
    return int(label) if label.isdecimal() else 0


def spares(world: World, run: Run) -> tuple[Contact, ...]:
    """The standbys that are neither blue nor green; one that gave up may still stream, too. None
    where nothing is copied."""
    if run.job.strategy != "replica":
        return ()
    ours = {run.blue.name, run.green.name if run.green else ""}
    idle = [seen for seen in world.servers if seen.state in REUSABLE and seen.name not in ours]
    return tuple(seen.contact for seen in idle)


def make(run: Run) -> None:
    """Boot it unless it stands, introduce the two, bring secrets and the first copy of all data."""
    green = run.green or create(run)
    pair.wait_for(green)
    run.progress.say("secrets")
    if run.secrets is not None:
        deliver(green.door, run.secrets)
    records.leave(run.site.home, green, run.job.image.id)
    run.progress.say("keys")
    renew_all(run.site, run.note, green, run.blue)
    part_spares(run)
    pair.introduce(run.blue, green, run.site.spec.ssh.port)
    run.progress.say("copying the database and files")
    prepared = green.program("swap", "prepare", given=order(run), timeout=PREPARE)
    restless = preflight.restless(prepared.get("pending", {}))
    if restless:
        raise BakehouseError("; ".join(restless), "nothing was changed on the server that serves")
    different = preflight.mismatch(green.hand("hello"))
    if different:
        raise BakehouseError(
            "; ".join(different), "its indexes would be wrong; see docs/promote.md"
        )


def create(run: Run) -> Contact:
    """Order the server. One that stands although the provider reports an error is the run's, too:
    it goes with it."""
    order = run.job.order(run.epoch, "standby")
    provider = run.site.provider
    run.lease.check()
    run.progress.say("making the server")
    try:
        server = provider.create_server(order)
    except BakehouseError:
        with suppress(BakehouseError):
            for one in provider.servers(run.site.name):
                if one.name == order.name:
                    run.green = run.site.contact(one)
        raise
    run.green = run.site.contact(server)
    run.record("note", said=f"made {server.name}")
    return run.green


def part_spares(run: Run) -> None:
    """Blue has one peer: an older standby makes room for green, as late as can be."""
    for spare in run.spares:
        with suppress(BakehouseError):  # one that is dead holds nothing up
            pair.part(spare)


def order(run: Run) -> dict[str, Any]:
    """What green's unit is told."""
    blue = run.blue.server.labels.get(GENERATION, "0")
    return {
        "epoch": run.epoch,
        "generation": run.job.generation,
        "peer_generation": int(blue),
        "allow_disconnects": run.site.spec.deploy.allow_disconnects,
    }


def announce(run: Run) -> None:
    """Blue lets its peer arm it in this run's epoch, and in no other; one of an older image lets it
    anyway. Raises RefusedError or UnreachableError."""
    try:
        run.blue.program("guard", "expect", str(run.epoch))
    except RefusedError as error:
        if UNKNOWN not in error.message:
            raise


def withdraw(blue: Contact) -> None:
    """Nobody is to arm blue any more, as far as it can be told."""
    with suppress(BakehouseError):
        blue.program("guard", "expect", "0")


def never(run: Run, contact: Contact) -> None:
    """Green promises not to take over. Raises BakehouseError when it has."""
    try:
        contact.program("swap", "give-up", str(run.epoch))
    except RefusedError as error:
        raise BakehouseError(
            f"{contact.name} is not given up, it may serve already: {error.message}",
            "`invoke promote --resume` finds out",
        ) from error


def drop(run: Run) -> None:
    """Green is not to be: a server made for this run goes, an old one goes on following.

    Blue hears of it first, and forgets a green that goes, so that nothing waits for its copy of the
    log. The lease says that only this is left, for whoever goes on here. Raises BakehouseError, and
    nothing goes, when green has taken over.
    """
    withdraw(run.blue)
    contact = run.green
    if contact is None:
        settle(run)
        return
    run.lease.check()
    promised = True
    try:
        never(run, contact)
    except UnreachableError:  # whoever calls this knows that blue serves
        promised = False
    run.lease.amend(OVER)
    if run.fresh or not (promised and settled(run.blue)):
        settle(run)
    if not run.fresh:
        return
    with suppress(BakehouseError):
        pair.part(run.blue)
    run.site.provider.delete_server(contact.server.id)
    run.record("note", said=f"deleted {contact.name}")
    run.green = None
    for spare in run.spares[-1:]:
        with suppress(BakehouseError):  # the older standby may follow again
            pair.introduce(run.blue, spare, run.site.spec.ssh.port)


def settled(blue: Contact) -> bool:
    """Whether blue serves for good, soon: its guard hears from green what that has promised."""
    deadline = time.monotonic() + HEARD
    while restored_in(blue):
        if time.monotonic() > deadline:
            return False
        time.sleep(AGAIN)
    return True


def settle(run: Run) -> None:
    """Blue serves for good. One that only went back to work would start nothing after a reboot
    before it heard from green: so green, if there is one, is switched off for certain first."""
    epoch = restored_in(run.blue)
    if not epoch:
        return
    if run.green is not None:
        run.lease.check()
        run.site.provider.power_off(run.green.server.id)
        run.note(f"{run.green.name} is switched off, so that {run.blue.name} serves for good")
    run.blue.program("guard", "restore", str(epoch), "--peer-off")


def restored_in(blue: Contact) -> int:
    """The epoch in which, in this boot, blue went back to work without a word from its peer; 0 when
    it did not. Nobody has fenced it then, so whoever took over did so by a person's word alone."""
    role = blue.hand("status")["role"]
    return int(role["epoch"]) if role["state"] == "restored" and role["live"] else 0

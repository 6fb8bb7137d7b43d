"""The serving server is dead: a standby takes over with what it has, and a person accepts the loss.

Replication is asynchronous outside of a swap, so the last commits may exist nowhere else. Where the
data is on a volume, or there is none, a new server takes over, and nothing is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from images import store
from images.history import Journal
from images.progress import Progress
from images.promote import moving, records, stateless, volume
from images.promote.ending import backup, prove
from images.promote.goal import Goal
from images.promote.green import find
from images.promote.job import ACTIVE, GIVEN_UP, STRATEGIES, Job, Site, job, labels, plan_of
from images.promote.lease import Lease, newest
from images.promote.observe import SPARE, Seen, World, look, refuse_locked_out
from images.promote.runs import Outcome, Run, leased
from images.providers.base import ROLE
from specs.errors import BakehouseError, UsageError
from specs.model import Strategy

HEIRS: Final = SPARE | {"gave-up"}
"""States of a standby that may take over; one gave up when the last swap was called off."""

TAKE_OVER: Final = 180.0
"""Seconds that a standby may take to become the server."""

ELSEWHERE: Final = "run this on the machine that baked it, or with its home: `--store HOME`"


@dataclass(frozen=True, slots=True)
class Loss:
    """What may be lost: commits of the last `seconds` before now; None when nobody can tell."""

    seconds: int | None
    standby: str

    @property
    def words(self) -> str:
        """What a person must say to accept it."""
        if self.seconds is None:
            return "I accept an unknown loss"
        return f"I accept the loss of {self.seconds} seconds"

    def told(self) -> str:
        """What it is, in words."""
        if self.seconds is None:
            return f"{self.standby} cannot tell how old its newest commit is"
        return (
            f"the newest commit on {self.standby} is {self.seconds} s old: what was written after "
            "it is lost, unless the dead server's disk can be read"
        )


def accepted(loss: Loss, given: str) -> bool:
    """Whether the words accept this loss, or a larger one: it grows while a person reads."""
    if loss.seconds is None or given.strip() == loss.words:
        return given.strip() == loss.words
    words = given.split()
    expected = loss.words.split()
    same = len(words) == len(expected) and words[:5] + words[6:] == expected[:5] + expected[6:]
    return same and words[5].isdecimal() and int(words[5]) >= loss.seconds


def blue_lost(
    site: Site, progress: Progress, given: str, ask: Callable[[str, str], str]
) -> Outcome:
    """Give the serving server up: off for certain, then the freshest standby serves, or a new
    server of its image where nothing is copied.

    `given` are words of acceptance; without them `ask` gets the loss and the words, and returns
    what the person said. Raises UsageError when the loss is not accepted, BakehouseError when there
    is no standby or no floating IP, the server that serves is alive, or what must be known of an
    image is not.
    """
    records.bring(site)  # the dead server tells nothing, and another machine may have baked
    world = look(site)
    refuse_locked_out(world)
    dead = lost(world)
    if not (world.ip.v4 or world.ip.v6):
        raise BakehouseError(
            f"there is no floating IP {world.ip.name}, by which users could reach another server",
            "if deploy.floating_ip was changed, put the old name back; nothing was changed",
        )
    if strategy(world, dead) != "replica":
        wanted = known(site, dead, disk=True)
        goal, secrets = Goal(wanted, dead.name), wanted.secrets()
        with leased(site, goal.labels()) as (lease, log):
            log.write(lease.epoch, "began", said=f"{dead.name} is given up for a new server")
            return take_over(goal, world, lease, log, progress, secrets=secrets)
    heir = choose(world)
    if heir.generation == 0:
        raise BakehouseError(f"{heir.name} has no generation label", "label it at the provider")
    wanted = known(site, heir)
    loss = measure(heir)
    progress.note(loss.told())
    said = given or ask(loss.told(), loss.words)
    if not accepted(loss, said):
        raise UsageError("the loss was not accepted", f"say: --accept-loss {loss.words!r}")
    goal = Goal(wanted, dead.name, heir.contact.server.id)
    with leased(site, goal.labels()) as (lease, log):
        log.write(lease.epoch, "began", said=f"{dead.name} is given up; {loss.told()}; {said!r}")
        return take_over(goal, world, lease, log, progress)


def take_over(
    goal: Goal,
    world: World,
    lease: Lease,
    log: Journal,
    progress: Progress,
    *,
    secrets: Mapping[str, str] | None = None,
) -> Outcome:
    """The dead server off for certain, then its heir serves, then it gets the IP; repeatable.

    `secrets` are for a server that is made.
    """
    dead = world.named(goal.blue)
    heir = find(world, goal)
    if goal.job.strategy != "replica" and dead is not None:
        return succeed(Run(goal.job, lease, log, progress, dead.contact, secrets or {}, heir), dead)
    if dead is None or heir is None:
        raise BakehouseError(
            f"{goal.blue} or its standby is no longer at the provider", "`invoke status`"
        )
    run = Run(goal.job, lease, log, progress, dead.contact, {}, heir, fresh=False)
    with progress.stage(f"{dead.name} off"):
        lease.check()
        run.site.provider.power_off(dead.contact.server.id)
    with progress.stage(f"{heir.name} takes over"):
        heir.program("swap", "alone", given={"epoch": run.epoch}, timeout=TAKE_OVER)
    end(run, dead)
    run.note(f"{dead.name} is kept, switched off: its disk may hold the lost writes")
    run.record("ended", said=f"{heir.name} serves alone; promote again for a second copy")
    lease.release()
    return run.outcome(heir)


def succeed(run: Run, dead: Seen) -> Outcome:
    """The dead server off for certain, then a new one of its image serves, with the volume if there
    is one, then it gets the IP; repeatable."""
    progress = run.progress
    with progress.stage(f"{dead.name} off"):
        run.lease.check()
        run.site.provider.power_off(dead.contact.server.id)
        run.blue_off = True
    with progress.stage("a new server"):
        if not stateless.up_probe(run).done:
            stateless.boot(run)
    heir = run.there()
    with progress.stage(f"{heir.name} takes over"):
        if run.job.strategy == "volume":
            volume.take_from(run, heir)
            volume.give(run.site, heir, run.epoch)
        else:
            heir.program("guard", "appoint", str(run.epoch), timeout=stateless.WORK)
    end(run, dead)
    run.record("ended", said=f"{heir.name} serves; {dead.name} is kept, switched off")
    run.lease.release()
    return run.outcome(heir)


def end(run: Run, dead: Seen) -> None:
    """Labels, the IP, users' view of it, a backup."""
    give_up(run, dead)
    with run.progress.stage("floating IP"):
        moving.assign(run)
    with run.progress.stage("health"):
        prove(run)
    backup(run)


def lost(world: World) -> Seen:
    """The server that served and is dead. Raises BakehouseError when that is not clear."""
    alive = [seen for seen in world.servers if seen.primary]
    if alive:
        raise BakehouseError(
            f"{alive[0].name} is alive and serves", "`invoke promote` swaps it without any loss"
        )
    dead = [seen for seen in world.servers if seen.label == ACTIVE]
    if len(dead) != 1:
        raise BakehouseError(
            f"{len(dead)} servers of {world.site.name} are labelled active",
            "`invoke status`; label the one that served last as role=active at the provider",
        )
    return dead[0]


def strategy(world: World, dead: Seen) -> Strategy:
    """What becomes of the dead server's data: by its image where this home knows that, else as the
    servers that are left tell, since no swap changes it. Raises BakehouseError when none does."""
    site = world.site
    left = [seen for seen in world.servers if seen.label != GIVEN_UP and seen is not dead]
    for seen in (dead, *left):
        plan = plan_of(site, seen.contact.server)
        told = plan.data.strategy if plan else str(seen.facts.get("strategy", ""))
        if told in STRATEGIES:
            return STRATEGIES[told]
    raise BakehouseError(
        f"{told_image(site, dead)}, which served on {dead.name}, is not known in {site.home.root}, "
        f"and no server of {site.name} that is left tells what becomes of its data",
        f"{ELSEWHERE}; or restore the newest backup (docs/backup.md)",
    )


def known(site: Site, seen: Seen, *, disk: bool = False) -> Job:
    """The job for the image of a server that may be dead; with its `disk`, where the provider is
    this machine and a new server is made of it. Raises BakehouseError, with what is missing and
    where it is, when this home does not know the image."""
    needed = disk and site.provider.name == "local"
    if (store.find if needed else store.recorded)(site.home, seen.image) is None:
        what = "disk" if store.recorded(site.home, seen.image) else "record (plan and proof)"
        raise BakehouseError(
            f"the {what} of {told_image(site, seen)}, which {seen.name} runs or ran, is not in "
            f"{site.home.root}, and {seen.name} cannot tell it",
            ELSEWHERE,
        )
    return job(site, "blue-lost", generation=seen.generation, disk=disk)


def told_image(site: Site, seen: Seen) -> str:
    """A server's image as a person may name it, and by its id."""
    return f"{site.name}@{seen.generation} ({seen.image or 'no label names its image'})"


def choose(world: World) -> Seen:
    """The standby with the newest data. Raises BakehouseError when there is none."""
    heirs = [seen for seen in world.servers if seen.state in HEIRS]
    if not heirs:
        raise BakehouseError(
            f"no standby of {world.site.name} is left",
            "restore the newest backup (docs/backup.md)",
        )
    return max(heirs, key=lambda seen: (replayed_at(seen) or 0.0, seen.name))


def replayed_at(seen: Seen) -> float | None:
    """When the newest commit that it has was made, in Unix seconds by the dead server's clock."""
    found = seen.contact.program("swap", "status").get("replayed_at")
    return None if found is None else float(found)


def measure(heir: Seen) -> Loss:
    """How old its newest commit is now."""
    at = replayed_at(heir)
    return Loss(None if at is None else max(0, round(time.time() - at)), heir.name)


def fence_returned(site: Site) -> None:
    """A server that was given up, and is on again, works no more: it could not be told while it was
    off, and it may not have heard it from the one that serves."""
    claim = newest(site.provider, site.name)
    for server in site.provider.servers(site.name):
        if claim and server.labels.get(ROLE) == GIVEN_UP and server.status != "off":
            with suppress(BakehouseError):  # one that does not answer is not at the IP either
                site.contact(server).program("guard", "retire", str(claim.number))


def give_up(run: Run, dead: Seen) -> None:
    """The labels say so, and the dead server is never deleted by a run."""
    provider, name = run.site.provider, run.site.name
    run.lease.check()
    given_up = labels(name, dead.generation, dead.image, GIVEN_UP, run.epoch)
    provider.set_labels(dead.contact.server.id, given_up)
    heir = run.there().server
    active = labels(name, run.job.generation, run.job.image.id, ACTIVE, run.epoch)
    provider.set_labels(heir.id, active)

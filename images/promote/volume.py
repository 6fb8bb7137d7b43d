"""Strategy `volume`: all data is on one volume, which is taken from blue and given to green.

There is no second copy, so nothing is served between blue's stop and the floating IP's move. Giving
the volume back loses nothing, whatever green has written to it.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from images.promote import ending, moving, pair, steps
from images.promote.job import Site
from images.promote.lease import LostLeaseError
from images.promote.reach import Contact, LockedOutError, UnreachableError
from images.promote.runs import Run
from images.promote.stateless import (
    WORK,
    exchange,
    give_up,
    make,
    preflight_probe,
    serving_probe,
    switch_off,
    up_probe,
)
from images.promote.steps import Probe, Step
from images.providers.base import SPEC, Volume
from specs.errors import BakehouseError

SIZE: Final = 10 << 30
"""Bytes of the volume that the first promote makes; the smallest that Hetzner sells."""


def name_of(site: Site) -> str:
    """The name of a spec's volume at the provider."""
    return f"{site.name}-data"


def found(site: Site) -> Volume:
    """The spec's volume. Raises BakehouseError when it is gone."""
    for volume in site.provider.volumes(site.name):
        if volume.name == name_of(site):
            return volume
    raise BakehouseError(
        f"there is no volume {name_of(site)} with the label {SPEC}={site.name}",
        "restore a backup on a first server (docs/backup.md)",
    )


def begin(site: Site, contact: Contact, epoch: int) -> None:
    """The first server's volume, empty, and mounted there. Raises BakehouseError, also for a volume
    of that name which is not ours."""
    site.provider.create_volume(name_of(site), SIZE, {SPEC: site.name})
    found(site)
    give(site, contact, epoch)


def give(site: Site, contact: Contact, epoch: int) -> None:
    """This server gets the volume, which no other one has, and all of it starts; repeatable."""
    device = site.provider.attach(name_of(site), contact.server.id)
    contact.program("volume", "take", str(epoch), device, timeout=WORK)


def free_probe(run: Run) -> Probe:
    """Blue has it no more."""
    holder = found(run.site).server
    return Probe(holder != run.blue.server.id, f"the volume is at {holder or 'no server'}")


def free(run: Run) -> None:
    """Blue stops what uses it; a blue that does not answer is switched off for certain. Raises
    RestoredError when blue cannot let go."""
    run.stopped = time.monotonic()
    try:
        run.blue.program("volume", "release", str(run.epoch), timeout=WORK)
    except LockedOutError as error:
        give_up(run, error.message)
    except UnreachableError:
        switch_off(run)
    except BakehouseError as error:
        give_up(run, error.message)
    try:
        moving.patiently(run, lambda: run.site.provider.detach(name_of(run.site)))
    except LostLeaseError:
        raise
    except BakehouseError as error:
        give_up(run, error.message)


def serve(run: Run) -> None:
    """Green starts everything on it. Raises RestoredError when it cannot: blue gets it again."""
    try:
        give(run.site, run.there(), run.epoch)
        pair.settle(run.there())
    except LostLeaseError:
        raise
    except BakehouseError as error:
        give_up(run, error.message)
    run.swapped = True


def move(run: Run) -> None:
    """The floating IP goes to green. Blue has closed its connections: no tunnel is of use."""
    moving.patiently(run, lambda: moving.mark(run))
    moving.assign(run)
    moving.await_arrival(run)
    if run.stopped:
        run.pause = round(time.monotonic() - run.stopped, 3)


def take_back(run: Run) -> None:
    """Green off for certain, the volume back at blue, which serves; repeatable. Raises
    BakehouseError."""
    exchange(run)
    take_from(run, run.blue)
    give(run.site, run.blue, run.epoch)
    with suppress(BakehouseError):  # it serves; whether all of it is well is seen by `status`
        pair.settle(run.blue)


def take_from(run: Run, heir: Contact) -> None:
    """Whoever has it is off for certain and has it no more, but for its heir."""
    provider, holder = run.site.provider, found(run.site).server
    if holder not in ("", heir.server.id):
        run.lease.check()
        provider.power_off(holder)
        provider.detach(name_of(run.site))


STEPS: Final = (
    steps.STEPS[0],
    Step(1, "preflight", preflight_probe, steps.refuse, "stop"),
    Step(2, "green is up", up_probe, make, "drop"),
    Step(4, "blue stopped, the volume free", free_probe, free, "restored"),
    Step(9, "the volume at green, which serves", serving_probe, serve, "restored"),
    Step(12, "floating IP at green", lambda run: Probe(*moving.at_green(run)), move, "forward"),
    Step(13, "healthy", lambda run: Probe(*ending.healthy(run)), ending.prove, "back"),
    steps.STEPS[-1],
)

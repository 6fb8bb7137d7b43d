"""Strategy `none`: nothing is kept on the server, so green only has to be well before it serves.

What must not run twice still does not: blue's workers end before green's begin. No server acts by
itself here: the operator does all steps, and `--resume` goes on after a kill.
"""

from __future__ import annotations

from typing import Final, NoReturn

from images.hosts.certificates import renew_all
from images.promote import pair, records, steps
from images.promote.goal import OVER, Goal
from images.promote.green import create
from images.promote.lease import LostLeaseError
from images.promote.observe import PRIMARY
from images.promote.reach import Contact, LockedOutError, UnreachableError
from images.promote.runs import Run
from images.promote.steps import Probe, Step
from images.promote.watching import RestoredError
from images.secrets.deliver import deliver
from specs import layout
from specs.errors import BakehouseError

CADDY: Final = f"{layout.DATA}/caddy"
"""Where Caddy keeps certificates and its account."""

WORK: Final = 600.0
"""Seconds that a server may take to stop or to start all that works on it."""


def catch_up(run: Run, goal: Goal) -> None:
    """What an earlier run left. Raises RestoredError when only tidying up is left."""
    if goal.over:
        raise RestoredError("it was given up by the run that was cut short")
    run.blue_off = run.blue.server.status == "off"


def state_of(contact: Contact | None) -> str:
    """What its guard says; "" when it does not answer, or is not there yet."""
    try:
        return str(contact.program("guard", "status")["state"]) if contact else ""
    except BakehouseError:
        return ""


def begun(run: Run) -> bool:
    """Whether blue has ended its work for this swap, or green has begun: then nobody refuses it."""
    volumes = run.site.provider.volumes(run.site.name)
    if any(volume.server != run.blue.server.id for volume in volumes):
        return True
    return state_of(run.green) in PRIMARY or state_of(run.blue) not in (*PRIMARY, "")


def preflight_probe(run: Run) -> Probe:
    """As ever, before blue has ended its work."""
    if begun(run):
        return Probe(True, f"{run.blue.name} has ended its work already")
    return steps.preflight_probe(run)


def up_probe(run: Run) -> Probe:
    """Green lets us in, and all of it runs that may."""
    if run.green is None:
        return Probe(False, "no server of this image yet")
    state = state_of(run.green)
    return Probe(run.ready or state in PRIMARY, f"{run.green.name} is {state or 'silent'}")


def make(run: Run) -> None:
    """Boot green with its secrets, and wait until it runs. Raises RestoredError when it does not
    although blue has ended its work."""
    try:
        boot(run)
    except LostLeaseError:
        raise
    except BakehouseError as error:
        if begun(run):
            give_up(run, error.message)
        raise


def boot(run: Run) -> None:
    """Green stands by, with its secrets, unless it works already. Raises BakehouseError."""
    green = run.green or create(run)
    run.lease.check()
    run.site.provider.power_on(green.server.id)  # it may have gone off since it was made
    pair.wait_for(green)
    if run.secrets is not None:
        deliver(green.door, run.secrets)
    records.leave(run.site.home, green, run.job.image.id)
    renew_all(run.site, run.note, green)
    if state_of(green) not in PRIMARY:
        green.program("guard", "standby", str(run.epoch))
    pair.settle(green)
    run.ready = True


def retired_probe(run: Run) -> Probe:
    """Blue's workers are gone, and will not come back."""
    state = state_of(run.blue) or ("off" if run.blue_off else "")
    return Probe(state not in (*PRIMARY, ""), f"{run.blue.name} is {state or 'silent'}")


def retire(run: Run) -> None:
    """Blue's web apps serve on, for those who are still connected; one that does not answer is
    switched off. Raises RestoredError when its workers do not end."""
    try:
        run.blue.program("guard", "retire", str(run.epoch), timeout=WORK)
    except LockedOutError as error:
        give_up(run, error.message)
    except UnreachableError:
        switch_off(run)
    except BakehouseError as error:
        give_up(run, error.message)


def switch_off(run: Run) -> None:
    """Blue is silent: it works no more, for certain."""
    run.lease.check()
    run.note(f"{run.blue.name} does not answer: it is switched off, so that it cannot write")
    run.site.provider.power_off(run.blue.server.id)
    run.blue_off = True


def serving_probe(run: Run) -> Probe:
    """Green was told to work in this run, and does."""
    state = state_of(run.green)
    return Probe(run.swapped and state in PRIMARY, f"green is {state or 'silent'}")


def serve(run: Run) -> None:
    """Green's workers begin. Raises RestoredError when they cannot: blue's do."""
    carry_certificates(run)
    try:
        run.there().program("guard", "appoint", str(run.epoch), timeout=WORK)
    except BakehouseError as error:
        give_up(run, error.message)
    run.swapped = True


def carry_certificates(run: Run) -> None:
    """Caddy's certificates and account, since an authority gives out only so many a week. Without
    them green asks for its own; that is told. They pass through this machine's memory only."""
    caddy = run.job.plan.image.caddy
    if run.blue_off or caddy is None:
        return
    pack = f"test ! -d {CADDY} || tar -C {CADDY} -cf - . | base64 -w0"
    unpack = f"install -d -m 0700 {CADDY} && base64 -d | tar -C {CADDY} -xpf -"
    try:
        done = run.blue.shell(pack)
        if done.code == 0 and done.stdout:
            done = run.there().shell(unpack, stdin=done.stdout)
        why = done.stderr.strip() if done.code else ""
    except UnreachableError as error:
        why = error.message
    if why:
        run.note(f"certificates were not carried, green asks for new ones: {why}")


def give_up(run: Run, why: str) -> NoReturn:
    """Green is not to be, and the lease says so, for whoever goes on here: always raises
    RestoredError."""
    run.lease.amend(OVER)
    raise RestoredError(why)


def take_back(run: Run) -> None:
    """Green off for certain, and blue at work again; repeatable. Raises BakehouseError."""
    exchange(run)
    run.blue.program("guard", "appoint", str(run.epoch), timeout=WORK)


def exchange(run: Run) -> None:
    """Green is off for certain, and blue lets us in."""
    run.lease.check()
    if run.green is not None:
        run.site.provider.power_off(run.green.server.id)
    run.site.provider.power_on(run.blue.server.id)
    pair.wait_for(run.blue)


STEPS: Final = (
    steps.STEPS[0],
    Step(1, "preflight", preflight_probe, steps.refuse, "stop"),
    Step(2, "green is up", up_probe, make, "drop"),
    Step(4, "blue's workers stopped", retired_probe, retire, "restored"),
    Step(9, "green's workers started", serving_probe, serve, "restored"),
    *steps.STEPS[-3:],
)

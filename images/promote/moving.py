"""Step 12: the floating IP moves to green; connections open at blue live on by a tunnel."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from images.promote import outside
from images.promote.job import ACTIVE, GIVEN_UP, STANDBY, labels
from images.promote.lease import LostLeaseError
from images.promote.reach import Contact
from images.promote.runs import Run
from images.providers.base import GENERATION, IMAGE, FloatingIp
from specs.errors import BakehouseError

ATTEMPTS: Final = 5
PAUSE: Final = 2.0
"""Seconds from one question to the provider to the next."""

Told = TypeVar("Told")

GRACE: Final = 5.0
"""Seconds that requests which run when the drain time is over may take to end."""

APPS_END: Final = 150.0
"""Seconds that blue's apps may take to end."""

ARRIVAL: Final = 30.0
"""Seconds that may pass until green answers at the IP once the provider says that it has moved."""


def at_green(run: Run) -> tuple[bool, str]:
    """Whether the provider says so, and users see green in every family."""
    ip = floating_ip(run)
    if run.green is None or ip.server != run.green.server.id:
        return False, f"the IP is at {ip.server or 'no server'}"
    asked = outside.questions(run.job.plan.image, ip)
    wrong = outside.wrong(run.site.provider, asked, run.job.generation)
    return not wrong, "; ".join(wrong) or f"generation {run.job.generation} answers"


def move(run: Run) -> None:
    """Labels first, since they name who serves; then the tunnel, then the IP, as one atomic call.

    Raises BakehouseError when the provider refuses for good, or green is not seen at the IP.
    """
    patiently(run, lambda: mark(run))
    drain(run, True)
    tunnel_up(run)
    assign(run)
    quietly(run, run.blue, "tunnel", "moved")
    await_arrival(run)


def await_arrival(run: Run) -> None:
    """Users reach green. Raises BakehouseError when they do not."""
    deadline = time.monotonic() + ARRIVAL
    while not (seen := at_green(run))[0]:
        if time.monotonic() > deadline:
            raise BakehouseError(
                f"the floating IP moved, but: {seen[1]}", "`invoke promote --resume` tries again"
            )
        time.sleep(0.2)


def assign(run: Run) -> None:
    """Ask until the provider confirms it. An error may hide a success, so look each time."""
    provider, name, green = run.site.provider, run.site.floating_ip, run.there().server.id

    def ask() -> None:
        try:
            provider.assign(name, green)
        except BakehouseError:
            if provider.floating_ip(name).server != green:
                raise

    patiently(run, ask)


def floating_ip(run: Run) -> FloatingIp:
    """The floating IP as the provider has it now."""
    return patiently(run, lambda: run.site.provider.floating_ip(run.site.floating_ip))


def patiently(run: Run, ask: Callable[[], Told]) -> Told:
    """The provider's answer, asked for again when it fails: green serves, there is no hurry and no
    way back. Raises its last error, and LostLeaseError as soon as the lease is lost."""
    for _ in range(ATTEMPTS - 1):
        try:
            run.lease.check()
            return ask()
        except LostLeaseError:
            raise
        except BakehouseError as error:
            run.record("note", said=f"asked again: {error.message}")
        time.sleep(PAUSE)
    run.lease.check()
    return ask()


def mark(run: Run) -> None:
    """The labels say who serves now; a blue that was switched off could not be told."""
    left = GIVEN_UP if run.blue_off else STANDBY
    for contact, role in ((run.there(), ACTIVE), (run.blue, left)):
        marks = contact.server.labels
        generation, image = int(marks.get(GENERATION, "0")), marks.get(IMAGE, "")
        wanted = labels(run.site.name, generation, image, role, run.epoch)
        run.site.provider.set_labels(contact.server.id, wanted)


def drain(run: Run, on: bool, *, over: bool = False) -> None:
    """Blue asks its clients to come again by a new connection, or no longer does; `over` tells it
    that they are gone for good, with all that they wrote."""
    try:
        epoch = run.blue.hand("status")["role"]["epoch"]
        run.blue.hand("drain", epoch=epoch, on=on, over=over, timeout=APPS_END)
    except BakehouseError as error:
        run.note(f"{run.blue.name} could not be told to drain: {error.message}")


def tunnel_up(run: Run) -> None:
    """Packets of connections that green does not know go on to blue, and its answers come back."""
    ip = floating_ip(run)
    floating = [address for address in (ip.v4, ip.v6) if address]
    green = run.there()
    for contact, peer in ((run.blue, green), (green, run.blue)):
        words = ["up", "--peer", peer.server.private, "--floating", *floating]
        if ip.translated:
            words.append("--translated")
        quietly(run, contact, "tunnel", *words)


def see_off(run: Run) -> None:
    """The drain time is over: what is idle at blue is closed in order, so that nothing new begins
    there, and what runs gets a grace; only then the tunnel goes."""
    if not run.blue_off:
        quietly(run, run.blue, "drain", f"{GRACE:g}")
    for contact in (run.there(), run.blue):
        quietly(run, contact, "tunnel", "down")
    drain(run, False)


def quietly(run: Run, contact: Contact, module: str, *words: str) -> dict[str, Any]:
    """Run a program whose failure costs open connections, but not the swap; it is told."""
    try:
        return contact.program(module, *words)
    except BakehouseError as error:
        run.note(f"{contact.name}: {module} {words[0]}: {error.message}")
        return {}

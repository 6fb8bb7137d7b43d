"""Step 12: the floating IP moves to green; connections open at blue live on by a tunnel."""

from __future__ import annotations

import time
from typing import Any, Final

from images.promote import outside
from images.promote.job import ACTIVE, STANDBY, labels
from images.promote.reach import Contact
from images.promote.runs import Run
from images.providers.base import GENERATION, IMAGE
from specs.errors import BakehouseError

ATTEMPTS: Final = 5
PAUSE: Final = 2.0
"""Seconds from one attempt to move the IP to the next."""

ARRIVAL: Final = 30.0
"""Seconds that may pass until green answers at the IP once the provider says that it has moved."""


def at_green(run: Run) -> tuple[bool, str]:
    """Whether the provider says so, and users see green in every family."""
    ip = run.site.provider.floating_ip(run.site.floating_ip)
    if run.green is None or ip.server != run.green.server.id:
        return False, f"the IP is at {ip.server or 'no server'}"
    asked = outside.questions(run.job.plan.image, ip)
    wrong = outside.wrong(run.site.provider, asked, run.job.generation)
    return not wrong, "; ".join(wrong) or f"generation {run.job.generation} answers"


def move(run: Run) -> None:
    """Labels first, since they name who serves; then the tunnel, then the IP, as one atomic call.

    Raises BakehouseError when the provider refuses for good, or green is not seen at the IP.
    """
    run.lease.check()
    mark(run)
    drain(run, True)
    tunnel_up(run)
    assign(run)
    quietly(run, run.blue, "tunnel", "moved")
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
    for attempt in range(1, ATTEMPTS + 1):
        run.lease.check()
        try:
            provider.assign(name, green)
            return
        except BakehouseError as error:
            run.record("note", said=f"moving the IP: {error.message}")
            if provider.floating_ip(name).server == green:
                return
            if attempt == ATTEMPTS:
                raise
        time.sleep(PAUSE)


def mark(run: Run) -> None:
    """The labels say who serves now."""
    for contact, role in ((run.there(), ACTIVE), (run.blue, STANDBY)):
        marks = contact.server.labels
        generation, image = int(marks.get(GENERATION, "0")), marks.get(IMAGE, "")
        wanted = labels(run.site.name, generation, image, role, run.epoch)
        run.site.provider.set_labels(contact.server.id, wanted)


def drain(run: Run, on: bool) -> None:
    """Blue asks its clients to come again by a new connection, or no longer does."""
    try:
        epoch = run.blue.hand("status")["role"]["epoch"]
        run.blue.hand("drain", epoch=epoch, on=on)
    except BakehouseError as error:
        run.note(f"{run.blue.name} could not be told to drain: {error.message}")


def tunnel_up(run: Run) -> None:
    """Packets of connections that green does not know go on to blue, and its answers come back."""
    ip = run.site.provider.floating_ip(run.site.floating_ip)
    floating = [address for address in (ip.v4, ip.v6) if address]
    green = run.there()
    for contact, peer in ((run.blue, green), (green, run.blue)):
        words = ["up", "--peer", peer.server.private, "--floating", *floating]
        if ip.translated:
            words.append("--translated")
        quietly(run, contact, "tunnel", *words)


def tunnel_down(run: Run) -> None:
    """No connection needs it any more."""
    for contact in (run.there(), run.blue):
        quietly(run, contact, "tunnel", "down")


def quietly(run: Run, contact: Contact, module: str, *words: str) -> dict[str, Any]:
    """Run a program whose failure costs open connections, but not the swap; it is told."""
    try:
        return contact.program(module, *words)
    except BakehouseError as error:
        run.note(f"{contact.name}: {module} {words[0]}: {error.message}")
        return {}

"""SSH host certificates that would end between two promotes: a scheduled run renews them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from images.calls import told_of
from images.hosts.certificates import in_force, renew_all
from images.promote.job import GIVEN_UP, Site, known_dead
from images.promote.lease import newest
from images.promote.reach import Contact, last_line
from images.providers.base import ROLE, Server
from images.run import CommandError, TimedOutError
from specs.errors import BakehouseError

EARLY: Final = timedelta(days=45)
"""A run renews a certificate with less time than this before it ends: half of `ca.VALIDITY`, so
that weekly runs try six times before it is too late."""


def renew_due(site: Site, now: float, note: Callable[[str], None]) -> list[str]:
    """Renew the certificate of each running server that has none, or whose ends within `EARLY`.

    Each renewal is told by `note`; each failure is a line of the answer. `now` is Unix seconds.
    While a swap runs nothing is done, since that renews them, and makes its new server's host key.
    The swap's lease is not taken: nothing that it guards is changed, and who takes it wipes out
    what a swap that was cut short wanted. Raises BakehouseError when the provider does not answer.
    """
    servers = [server for server in site.provider.servers(site.name) if _wanted(server)]
    if not servers or _swapping(site):
        return []
    moment = datetime.fromtimestamp(now)
    told = [_renewed(site, site.contact(server), moment, note) for server in servers]
    return [line for line in told if line]


def _wanted(server: Server) -> bool:
    """Whether clients may come to it; one that was given up may be silent, and nobody should."""
    reached = server.address or server.address6
    return server.status == "running" and bool(reached) and server.labels.get(ROLE) != GIVEN_UP


def _swapping(site: Site) -> bool:
    """Whether a swap runs now, on whatever machine; one that was cut short does not."""
    claim = newest(site.provider, site.name)
    if claim is None or claim.ended(time.time()):
        return False
    return not known_dead(site, claim.owner)


def _renewed(site: Site, contact: Contact, now: datetime, note: Callable[[str], None]) -> str:
    """Renew one server's certificate if it is time; why it could not be, or ""."""
    wrong = f"{contact.name} does not tell when its SSH host certificate ends"
    try:
        known = in_force(contact.name, contact.door)
        if known.expires and known.expires - now >= EARLY:
            return ""
        if _swapping(site):  # it began meanwhile
            return ""
        until = f"ends {known.expires:%Y-%m-%d}" if known.expires else "is missing"
        wrong = f"the SSH host certificate of {contact.name} {until} and could not be renewed"
        renew_all(site, note, contact)
    except (BakehouseError, OSError) as error:
        return f"{wrong}: {_why(error)}"
    note(f"{contact.name} has a fresh SSH host certificate; the one before {until}")
    return ""


def _why(error: BakehouseError | OSError) -> str:
    """The reason in one line, without the command that told it."""
    if isinstance(error, TimedOutError):
        return "it did not answer in time"
    message = (told_of(error) if isinstance(error, OSError) else error).message
    return last_line(message) if isinstance(error, CommandError) else message.partition("\n")[0]

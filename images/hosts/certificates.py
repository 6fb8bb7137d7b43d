"""The certificates of a spec's servers: which are in force, new ones, and what clients need."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from images.hosts.ca import (
    BRING,
    HostCa,
    client_names,
    find_ca,
    known_hosts_line,
    open_ca,
    principals,
)
from images.hosts.keys import asked, certify
from images.promote.job import Site
from images.promote.reach import Contact
from images.providers.base import FloatingIp, Server
from images.run import CommandError, run
from images.ssh import Door
from specs.errors import BakehouseError, UsageError
from specs.model import Spec

SOON: Final = timedelta(days=30)
"""A certificate with less time than this before it ends should be renewed."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server's certificate says; `expires` is local time, None when the server has none."""

    server: str
    serial: int = 0
    principals: tuple[str, ...] = ()
    expires: datetime | None = None

    def as_data(self) -> dict[str, Any]:
        """The same as plain data, for `--json`."""
        return {
            "server": self.server,
            "serial": self.serial,
            "principals": list(self.principals),
            "expires": self.expires.astimezone().isoformat() if self.expires else "",
        }

    def line(self, now: datetime) -> str:
        """For a person."""
        if self.expires is None:
            return f"{self.server:<32} has none; run with --renew"
        left = self.expires - now
        when = f"until {self.expires:%Y-%m-%d %H:%M}"
        if left < timedelta(0):
            when = f"EXPIRED {self.expires:%Y-%m-%d %H:%M}; run with --renew"
        elif left < SOON:
            when += f", {left.days} days; run with --renew"
        return f"{self.server:<32} {when}  serial {self.serial}"


def renew_all(site: Site, note: Callable[[str], None], *contacts: Contact) -> None:
    """A fresh certificate for each, and a host key of its own for a new one.

    At a promote before the servers tell each other their host keys, and when one ends soon. Raises
    as `keys.certify` and `ca.open_ca`.
    """
    ca = open_ca(site.spec, site.spec_file, site.home, note)
    floating = site.provider.floating_ip(site.floating_ip)
    for contact in contacts:
        names = principals(site.spec, contact.server, floating)
        certify(contact.door, ca, contact.name, names)


def in_force(name: str, door: Door) -> Certificate:
    """The certificate that a server has now. Raises CommandError when it cannot be reached."""
    text = asked(door, name)["certificate"]
    return parsed(name, text) if text else Certificate(name)


def parsed(name: str, text: str) -> Certificate:
    """A certificate's content, as ssh-keygen reads it."""
    shown = run(["ssh-keygen", "-L", "-f", "-"], stdin=text).stdout
    serial = re.search(r"^ +Serial: (\d+)$", shown, re.M)
    until = re.search(r"^ +Valid: from \S+ to (\S+)$", shown, re.M)
    names = re.search(r"^ +Principals: *\n((?: {10,}\S+\n)*)", shown, re.M)
    if not (serial and until and names):
        raise BakehouseError(f"{name}: its certificate cannot be read", "run with --renew")
    return Certificate(
        name, int(serial[1]), tuple(names[1].split()), datetime.fromisoformat(until[1])
    )


@dataclass(frozen=True, slots=True)
class Trust:
    """What a spec's clients need, from where it is deployed."""

    spec: Spec
    ca: HostCa
    floating: FloatingIp | None
    servers: Sequence[Server]

    def line(self) -> str:
        """The one line for known_hosts."""
        hosts = client_names(self.spec, self.floating, self.servers)
        return known_hosts_line(self.ca, hosts, self.spec.ssh.port)


def trust_of(site: Site, note: Callable[[str], None]) -> Trust:
    """Ask the provider for the servers; the floating IP once there are some. Raises as `open_ca`,
    and UsageError for servers whose CA is not here."""
    servers = site.provider.servers(site.name)
    floating = site.provider.floating_ip(site.floating_ip) if servers else None
    if servers and find_ca(site.spec, site.spec_file, site.home) is None:
        raise UsageError(
            f"the CA that signed the host keys of {servers[0].name} is not on this machine",
            f"{BRING}; `invoke host-keys --renew` makes another one",
        )
    return Trust(site.spec, open_ca(site.spec, site.spec_file, site.home, note), floating, servers)


def survey(site: Site, note: Callable[[str], None], *, renew: bool) -> list[Certificate]:
    """The certificate of each server that runs, with `renew` after renewing them all, once every
    server has answered: only then may a CA be made.

    Raises BakehouseError, which names the server, when one cannot be reached, and as `open_ca`.
    """
    running = [one for one in site.provider.servers(site.name) if one.status == "running"]
    contacts = [site.contact(server) for server in running]
    found = [_told(contact) for contact in contacts]
    if renew and contacts:
        renew_all(site, note, *contacts)
        found = [_told(contact) for contact in contacts]
    return found


def _told(contact: Contact) -> Certificate:
    try:
        return in_force(contact.name, contact.door)
    except CommandError as error:
        raise BakehouseError(f"{contact.name}: {error.message}", "see `invoke status`") from error

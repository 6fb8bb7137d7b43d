"""What is, asked anew each time: servers by label at the provider, their roles by SSH.

Labels tell which servers there are; what a server may do is told by its own guard. Two servers that
accept writes stop everything.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from images.promote.job import GIVEN_UP, Site
from images.promote.lease import Claim, newest
from images.promote.reach import Contact, LockedOutError, RefusedError, UnreachableError
from images.providers.base import GENERATION, IMAGE, ROLE, FloatingIp
from specs.errors import BakehouseError

PRIMARY: Final = frozenset({"serving", "restored"})
"""States of a guard in which a server holds the truth and works."""

SPARE: Final = frozenset({"standby", "following"})
"""States in which a server may be asked to take over."""

REUSABLE: Final = SPARE | {"fenced", "gave-up"}
"""States in which a server may be made one again: it serves nobody, and will not by itself."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A server as it is now. `facts` is what its hand said; empty when it did not answer, for the
    reason `silence`. `locked_out` is what to do where it may well live, and this machine lacks what
    would let it in."""

    contact: Contact
    facts: Mapping[str, Any]
    silence: str = ""
    locked_out: str = ""

    @property
    def name(self) -> str:
        return self.contact.name

    @property
    def generation(self) -> int:
        """By its label: also known of a server that is off."""
        label = self.contact.server.labels.get(GENERATION, "0")
        return int(label) if label.isdecimal() else 0

    @property
    def image(self) -> str:
        return self.contact.server.labels.get(IMAGE, "")

    @property
    def label(self) -> str:
        """The role that the provider's label names."""
        return self.contact.server.labels.get(ROLE, "")

    @property
    def state(self) -> str:
        """What its guard says; "" when it does not answer."""
        return str(self.facts.get("role", {}).get("state", ""))

    @property
    def epoch(self) -> int:
        """The epoch that its guard knows."""
        return int(self.facts.get("role", {}).get("epoch", 0))

    @property
    def primary(self) -> bool:
        """Whether it holds the truth and works."""
        return self.state in PRIMARY

    @property
    def writable(self) -> bool:
        """Whether its Postgres runs and takes changes; without Postgres, whether it works."""
        if "postgres" not in self.facts:
            return False
        postgres = self.facts["postgres"]
        return self.primary if postgres is None else postgres["in_recovery"] is False


@dataclass(frozen=True, slots=True)
class World:
    """A spec's servers, its floating IP and its lease, at one moment."""

    site: Site
    servers: tuple[Seen, ...]
    ip: FloatingIp
    claim: Claim | None

    def named(self, name: str) -> Seen | None:
        """The server of this name."""
        return next((seen for seen in self.servers if seen.name == name), None)

    def active(self) -> Seen:
        """The server that serves.

        Raises BakehouseError when there is none, or when one that does not answer may be it.
        """
        serving = [seen for seen in self.servers if seen.primary]
        if len(serving) == 1:
            return serving[0]
        silent = [seen for seen in self.servers if seen.silence and seen.label != GIVEN_UP]
        refuse_locked_out(self)
        if silent:
            seen = silent[0]
            raise UnreachableError(
                f"{seen.name} does not answer, and no other server serves: {seen.silence}",
                "wait for it, or switch it on; when it is dead for good: "
                "`invoke promote --blue-lost`",
            )
        states = ", ".join(f"{seen.name} is {seen.state}" for seen in self.servers)
        raise BakehouseError(
            f"no server of {self.site.name} serves" + (f": {states}" if states else ""),
            "`invoke promote --resume` ends a swap that was begun"
            if states
            else "deploy the first one: `invoke promote --first`",
        )


def look(site: Site) -> World:
    """Ask the provider and every server that is on.

    Raises BakehouseError, naming both, when two servers accept writes.
    """
    contacts = [site.contact(server) for server in site.provider.servers(site.name)]
    with ThreadPoolExecutor(max_workers=max(1, len(contacts))) as pool:
        servers = tuple(pool.map(see, contacts))
    world = World(
        site,
        servers,
        site.provider.floating_ip(site.floating_ip),
        newest(site.provider, site.name),
    )
    refuse_two_writers(world)
    return world


def see(contact: Contact) -> Seen:
    """One server, asked by SSH when it is on."""
    if contact.server.status == "off":
        return Seen(contact, {}, "it is switched off")
    silence = ""
    for question in ("hello", "status"):  # the first is refused while Postgres is down
        try:
            return Seen(contact, contact.hand(question))
        except LockedOutError as error:
            return Seen(contact, {}, error.message, error.hint)
        except UnreachableError as error:
            return Seen(contact, {}, silence or error.message)
        except RefusedError as error:
            silence = silence or error.message
    return Seen(contact, {}, silence)


def refuse_locked_out(world: World) -> None:
    """Raises LockedOutError when no server is known to serve, and one that may do it cannot be
    asked from here: what takes silence for death must not begin."""
    if any(seen.primary for seen in world.servers):
        return
    for seen in world.servers:
        if seen.locked_out and seen.label != GIVEN_UP:
            raise LockedOutError(
                seen.silence,
                f"{seen.locked_out}; if it is beyond reach for good, switch it off at the provider",
            )


def refuse_two_writers(world: World) -> None:
    """Raises BakehouseError when two servers accept writes: nothing may go on then."""
    writers = [seen for seen in world.servers if seen.writable]
    if len(writers) > 1:
        names = " and ".join(
            f"{seen.name} (generation {seen.generation}, {seen.state} in epoch {seen.epoch})"
            for seen in writers
        )
        raise BakehouseError(
            f"two servers accept writes: {names}; everything stops here",
            "find out which one users reach (`invoke status` names the floating IP's holder), "
            "switch the other one off at the provider, and keep its disk: it may hold writes "
            "that the first one lacks",
        )

"""The local cloud's network: one namespace that stays, and floating IPs that move in it.

The namespace holds a bridge for the servers and is itself the router and the users' side. A
floating IP is a route to its holder's own address. As in a cloud, the router forwards a packet
*from* a floating IP only when its holder sent it, so connections break when the IP moves. The
namespace can be made again at any time from the cloud's files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.network import NAMESPACES, create_commands, delete_command, inside
from images.providers.local_state import Cloud, Record
from images.run import run

MARKS: Final = Path("/run/bakehouse-clouds")
"""A link of each cloud's name to its folder, so that a cloud whose folder is gone is found."""

TABLE: Final = "bakehouse_cloud"
FLOATING: Final = 250
"""How many floating IPs there can be."""

SETTINGS: Final = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.send_redirects=0",
    "net.ipv4.conf.default.send_redirects=0",
    "net.ipv6.conf.all.forwarding=1",
)
"""Servers reach floating IPs through the router, and are not told a shorter way."""


@dataclass(frozen=True, slots=True)
class Floating:
    """A floating IP, number 1 to `FLOATING`, and the servers that may send from it."""

    number: int
    holders: tuple[Record, ...]

    @property
    def v4(self) -> str:
        """From the third network for documentation (RFC 5737)."""
        return f"203.0.113.{self.number}"

    @property
    def v6(self) -> str:
        """From the network for documentation (RFC 3849), apart from the servers' part of it.

        The first one of a network of 64 bits, which is what a cloud gives out.
        """
        return f"2001:db8:f10a:{self.number:x}::1"


def ensure(cloud: Cloud) -> bool:
    """Make the network unless it is there; whether it was made. The registry must be held."""
    if whole(cloud):
        return False
    if exists(cloud):
        run(delete_command(cloud.name))
    _mark(cloud)
    for command in create_commands(cloud.name):
        run(command)
    run(inside(cloud.name, ["sysctl", "--quiet", "--write", *SETTINGS]))
    _load(cloud, ())
    return True


def _mark(cloud: Cloud) -> None:
    mark = MARKS / cloud.name
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    mark.symlink_to(cloud.root)


def exists(cloud: Cloud) -> bool:
    """Whether there is a network."""
    return (NAMESPACES / cloud.name).exists()


def whole(cloud: Cloud) -> bool:
    """Whether the network was made to its end: the table of rules comes last."""
    probe = inside(cloud.name, ["nft", "list", "table", "bridge", TABLE])
    return exists(cloud) and run(probe, check=False).code == 0


def remove(cloud: Cloud) -> None:
    """The network is gone, with all that was in it."""
    if exists(cloud):
        run(delete_command(cloud.name))
    (MARKS / cloud.name).unlink(missing_ok=True)


def point(cloud: Cloud, all_before: Iterable[Floating], all_after: Iterable[Floating]) -> None:
    """Move floating IPs: for a moment both may send from them, then routes move, then one may.

    The other order would drop the answers to connections that are opened in that moment.
    """
    before, after = tuple(all_before), tuple(all_after)
    _load(cloud, (*before, *after))
    run(["ip", "-netns", cloud.name, "-batch", "-"], stdin=routes(after))
    _load(cloud, after)


def _load(cloud: Cloud, floating: Iterable[Floating]) -> None:
    run(inside(cloud.name, ["nft", "--file", "-"]), stdin=rules(floating))


def routes(floating: Iterable[Floating]) -> str:
    """Batch input of ip(8): each route is replaced in one step, of IPv4 and of IPv6."""
    lines = []
    for ip in floating:
        if ip.holders:
            address = ip.holders[0].address
            lines += [
                f"route replace {ip.v4}/32 via {address.v4}",
                f"route replace {ip.v6}/128 via {address.v6}",
            ]
        else:
            lines += [
                f"route replace unreachable {ip.v4}/32",
                f"route replace unreachable {ip.v6}/128",
            ]
    return "".join(f"{line}\n" for line in lines)


def rules(floating: Iterable[Floating]) -> str:
    """Input of nft(8), one transaction: who may send from which floating IP, and nobody else."""
    every = tuple(floating)
    held4 = [f'"{holder.link}" . {ip.v4}' for ip in every for holder in ip.holders]
    held6 = [f'"{holder.link}" . {ip.v6}' for ip in every for holder in ip.holders]
    return f"""table bridge {TABLE}
delete table bridge {TABLE}
table bridge {TABLE} {{
    set floating4 {{
        type ipv4_addr
        {_elements(ip.v4 for ip in every)}
    }}
    set floating6 {{
        type ipv6_addr
        {_elements(ip.v6 for ip in every)}
    }}
    set held4 {{
        type ifname . ipv4_addr
        {_elements(held4)}
    }}
    set held6 {{
        type ifname . ipv6_addr
        {_elements(held6)}
    }}
    chain from_servers {{
        type filter hook prerouting priority -300; policy accept;
        ip saddr @floating4 iifname . ip saddr != @held4 drop
        ip6 saddr @floating6 iifname . ip6 saddr != @held6 drop
    }}
}}
"""


def _elements(words: Iterable[str]) -> str:
    listed = ", ".join(dict.fromkeys(words))
    return f"elements = {{ {listed} }}" if listed else ""

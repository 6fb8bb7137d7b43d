"""How DigitalOcean leads a reserved IP to a droplet: by translating it, without remembering much.

The local cloud's route leads a packet to the holder's machine; here it is given the holder's anchor
address, or its public one, on its way out of the users' network. Answers come from that address.
All from an anchor address are the IP's; a public one is reached directly as well, so for those the
ports of what came in are kept. When the IP has moved, packets of old connections reach the new
holder, and what the old one says to them is dropped: it may not speak for the IP any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from images.network import BRIDGE
from images.providers.local_state import DEVICES
from images.run import run
from tests.emulators.machines import Machines

TABLE: Final = "emulated_digitalocean"
MARK: Final = "0xd0"
REMEMBER: Final = "update @came { ip saddr . th sport . th dport . ip daddr }"
ANCHORS: Final = "10.19.0.0/16"
"""Where anchor addresses are."""


def rules(targets: Mapping[str, str]) -> str:
    """Input of nft(8), one transaction: each reserved IP and the address it is translated to.

    The set of connections lives on from one to the next.
    """
    return f"""add table ip {TABLE}
add map ip {TABLE} to {{ type ipv4_addr : ipv4_addr; }}
add map ip {TABLE} back {{ type ipv4_addr : ipv4_addr; }}
add set ip {TABLE} came {{
    type ipv4_addr . inet_service . inet_service . ipv4_addr
    flags dynamic
    size 65535
    timeout 1h
}}
add chain ip {TABLE} outward {{ type filter hook postrouting priority 200; }}
add chain ip {TABLE} answer
add chain ip {TABLE} inward {{ type filter hook prerouting priority -350; }}
flush map ip {TABLE} to
flush map ip {TABLE} back
flush chain ip {TABLE} outward
flush chain ip {TABLE} inward
flush chain ip {TABLE} answer
table ip {TABLE} {{
    map to {{
        type ipv4_addr : ipv4_addr
        {_elements(f"{ip} : {target}" for ip, target in targets.items())}
    }}
    map back {{
        type ipv4_addr : ipv4_addr
        {_elements(f"{target} : {ip}" for ip, target in targets.items())}
    }}
    chain outward {{
        oifname != "{BRIDGE}" accept
        {_one_of("ip daddr", targets, f"meta mark set {MARK}")}
        meta mark {MARK} ip daddr set ip daddr map @to
        meta mark {MARK} meta l4proto {{ tcp, udp }} {REMEMBER}
    }}
    chain inward {{
        iifname != "{BRIDGE}" accept
        meta l4proto != {{ tcp, udp }} accept
        ip saddr {ANCHORS} jump answer
        ip daddr . th dport . th sport . ip saddr @came jump answer
    }}
    chain answer {{
        ip saddr set ip saddr map @back accept
        drop
    }}
}}
"""


def _elements(words: Iterable[str]) -> str:
    listed = ", ".join(words)
    return f"elements = {{ {listed} }}" if listed else ""


def _one_of(what: str, addresses: Iterable[str], then: str) -> str:
    listed = ", ".join(addresses)
    return f"{what} {{ {listed} }} {then}" if listed else ""


class Translated(Machines):
    """Machines in such a network, whose volumes have the vendor's names for devices."""

    def translate(self, targets: Mapping[str, str]) -> None:
        """Each assigned reserved IP and the address it is translated to."""
        run(self.outside(["nft", "--file", "-"]), stdin=rules(targets))

    def attach(self, name: str, server: str) -> str:
        """Give the volume to a server; its device is also called as the vendor does."""
        node = super().attach(name, server).rpartition("/")[2]
        link = self.cloud.folder(server) / DEVICES / f"scsi-0DO_Volume_{name}"
        link.unlink(missing_ok=True)
        link.symlink_to(node)
        return f"/dev/disk/by-id/{link.name}"

"""The private network of throwaway machines: one namespace with one bridge, and nothing outside it.

The bridge carries the client's address, so a process inside the namespace sees the machines as
the world would. There is no way out of it: this machine's routes and firewall stay untouched.
Addresses are those set aside for documentation (RFC 5737 and RFC 3849): no real network, and no
subnet of a spec, can be the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from images.run import run

BRIDGE: Final = "bakehouse"
CLIENT4: Final = "198.51.100.1"
CLIENT6: Final = "2001:db8:ba4e::1"
NAMESPACES: Final = Path("/run/netns")
MACHINES: Final = 200
"""How many machines the network has addresses for."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the machine with this number (1 to 200) is found."""

    number: int

    @property
    def v4(self) -> str:
        """The IPv4 address, in a network of 24 bits."""
        return f"198.51.100.{10 + self.number}"

    @property
    def v6(self) -> str:
        """The IPv6 address, in a network of 64 bits."""
        return f"2001:db8:ba4e::{10 + self.number}"

    @property
    def mac(self) -> str:
        """A locally administered hardware address, for virtual machines."""
        return f"52:54:00:ba:4e:{10 + self.number:02x}"


def create_commands(namespace: str) -> list[list[str]]:
    """Make the namespace, its bridge and the client's addresses."""

    def ip(*words: str) -> list[str]:
        return ["ip", "-netns", namespace, *words]

    return [
        ["ip", "netns", "add", namespace],
        ip("link", "set", "lo", "up"),
        ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"),
        ip("link", "set", BRIDGE, "up"),
        ip("address", "add", f"{CLIENT4}/24", "dev", BRIDGE),
        ip("address", "add", f"{CLIENT6}/64", "dev", BRIDGE, "nodad"),
    ]


def delete_command(namespace: str) -> list[str]:
    """Remove the namespace; its devices go with it once no process is inside."""
    return ["ip", "netns", "delete", namespace]


def inside(namespace: str, argv: Sequence[str]) -> list[str]:
    """The command as run in the namespace.

    Not `ip netns exec`: that mounts another /sys, in which nspawn finds no control groups.
    """
    return ["nsenter", f"--net={NAMESPACES / namespace}", "--", *argv]


@contextmanager
def network(namespace: str) -> Iterator[None]:
    """The whole network or none of it, removed in the end whatever happens."""
    try:
        for command in create_commands(namespace):
            run(command)
        yield
    finally:
        if (NAMESPACES / namespace).exists():
            run(delete_command(namespace))


@contextmanager
def tap(namespace: str, name: str) -> Iterator[None]:
    """A virtual machine's link on the bridge, gone in the end; `name` has 15 bytes at most."""
    ip = ["ip", "-netns", namespace]
    run([*ip, "tuntap", "add", "dev", name, "mode", "tap"])
    try:
        run([*ip, "link", "set", name, "master", BRIDGE, "up"])
        yield
    finally:
        run([*ip, "link", "delete", name])


def network_config(
    address: Address, interface: str, mac: str = "", further: Sequence[str] = ()
) -> str:
    """cloud-init's network configuration (version 2, as JSON), static in both families.

    With `mac` it is for the interface with that hardware address, else for the one so named.
    `further` are addresses, with the width of their network, beside its own.
    """
    settings: dict[str, object] = {
        "dhcp4": False,
        "dhcp6": False,
        "accept-ra": False,
        "addresses": [f"{address.v4}/24", f"{address.v6}/64", *further],
        "routes": [{"to": "0.0.0.0/0", "via": CLIENT4}, {"to": "::/0", "via": CLIENT6}],
    }
    if mac:
        settings["match"] = {"macaddress": mac}
    return json.dumps({"version": 2, "ethernets": {interface: settings}}, indent=1) + "\n"

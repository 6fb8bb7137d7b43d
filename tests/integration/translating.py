"""A cloud that translates the floating IP to another address of each server.

The servers' own addresses are reached directly as well, as at DigitalOcean. The router keeps which
connections came by the floating IP, and drops answers to them that are not from its holder.
"""

from __future__ import annotations

import socket
from typing import ClassVar, Final

from tests.integration.traffic import STALLED
from tests.integration.world import ADDRESS, FLOATING, World

TABLE: Final = """
add table ip translation
add set ip translation came {{
  type ipv4_addr . inet_service . inet_service . ipv4_addr
  flags dynamic
  size 65535
}}
delete chain ip translation arriving
delete chain ip translation inward
table ip translation {{
  chain inward {{
    ip daddr set {target}
    meta l4proto tcp update @came {{ ip saddr . th sport . th dport . ip daddr }}
  }}
  chain arriving {{
    type filter hook prerouting priority -350; policy accept;
    iifname "client" ip daddr {floating} goto inward
    {ours} iifname "{holder}" ip saddr set {floating} accept
    {ours} drop
  }}
}}
"""

ANCHOR: Final = {"blue": "10.19.0.5", "green": "10.19.0.6"}
KEPT: Final = "meta l4proto tcp ip daddr . th dport . th sport . ip saddr @came"


class Translating(World):
    """A world with the router of such a cloud: `at` has each server's address where the IP arrives,
    and `ours` tells what the router takes for an answer of the floating IP."""

    at: ClassVar = {name: ADDRESS[name][4] for name in ANCHOR}
    ours = KEPT
    versions = (4,)

    def lay(self) -> None:
        """The anchor addresses as well."""
        super().lay()
        for server, address in ANCHOR.items():
            self.ip(server, f"address add {address}/16 dev eth0")
            self.ip("cloud", f"route add {address} dev {server}")

    def up(self, version: int = 4) -> None:
        """The tunnel on both."""
        for server, peer in (("green", "blue"), ("blue", "green")):
            words = ["--peer", ADDRESS[peer][version], "--floating", FLOATING[4]]
            self.tunnel(server, "up", *words, "--translated", self.at[server])

    def move(self, server: str) -> None:
        """The floating IP to a server; from now on only that one answers for it."""
        words = {"holder": server, "target": self.at[server], "floating": FLOATING[4]}
        script = TABLE.format(**words, ours=self.ours)
        if self.run("cloud", "nft", "list", "table", "ip", "translation", check=False).code:
            script = "\n".join(line for line in script.splitlines() if line[:7] != "delete ")
        self.nft("cloud", script)

    def tell(self, server: str) -> None:
        """That the address has left it, which translated packets do not say."""
        self.tunnel(server, "moved")

    def moved(self, _server: str) -> set[str]:
        """None: the server's own address is not only the floating IP's."""
        return set()

    def direct(self, server: str, request: str) -> socket.socket:
        """A connection to a server's own address."""
        with self.inside("client"):
            made = socket.create_connection((ADDRESS[server][4], 80), timeout=STALLED)
        made.sendall(f"{request}\n".encode())
        return made


class Anchored(Translating):
    """Each server has an address to which nothing else comes, so the router keeps nothing."""

    at = ANCHOR
    ours = f"ip saddr {{ {', '.join(ANCHOR.values())} }}"

    def moved(self, server: str) -> set[str]:
        """Where the floating IP arrived."""
        return {ANCHOR[server]}

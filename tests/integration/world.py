"""Namespaces for blue, green, a client and a cloud, whose router leads the floating IP to a server.

Both servers have the packet filter and the kernel's settings of the default server; what answers on
them is a few lines of Python, for it is packets that are tested here.
"""

from __future__ import annotations

import ctypes
import json
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from cloudinit import firewall
from cloudinit.system import SYSCTL
from images.network import NAMESPACES, inside
from images.run import Result, run
from specs.plan import resolve
from specs.read import read
from tests.integration.traffic import PUBLISHED, STALLED, Server

ROOT = Path(__file__).parents[2]
FLOATING = {4: "203.0.113.7", 6: "2001:db8:f::7"}
ADDRESS = {
    "client": {4: "198.51.100.2", 6: "2001:db8:c::2"},
    "blue": {4: "192.0.2.2", 6: "2001:db8:1::2"},
    "green": {4: "192.0.2.6", 6: "2001:db8:2::2"},
}
PREFIX = {4: 30, 6: 64}
BOX = "172.20.0.2"
"""A container on blue, whose port 80 is published as `PUBLISHED` the way Docker does it."""


@dataclass(frozen=True)
class World:
    """The namespaces of one test, whose names all begin with `name`.

    The servers have the floating IP in these `versions`, and the cloud's router drops what comes
    from it unless its holder sent it.
    """

    name: str
    versions: ClassVar[tuple[int, ...]] = (4, 6)

    def lay(self) -> None:
        """The links, addresses and routes of all."""
        build(self)
        containers(self)

    def reset(self) -> None:
        """Blue has the floating IP, and there is no tunnel."""
        for server in ("blue", "green"):
            self.tunnel(server, "down")
        self.move("blue")

    def run(self, place: str, *argv: str, stdin: str | None = None, check: bool = True) -> Result:
        """Run a command in a namespace."""
        words = inside(f"{self.name}-{place}", argv)
        return run(words, stdin=stdin, check=check, timeout=20, cwd=ROOT)

    def ip(self, place: str, line: str) -> None:
        self.run(place, "ip", *line.split())

    def nft(self, place: str, script: str) -> None:
        self.run(place, "nft", "-f", "-", stdin=script)

    def tunnel(self, server: str, *words: str, check: bool = True) -> Result:
        """Our program, as it runs on a server."""
        command = [sys.executable, "-m", "images.server.tunnel", *words]
        return self.run(server, *command, check=check)

    def up(self, version: int = 4) -> None:
        """The tunnel on both; `version` is that of the addresses between which it runs."""
        for server, peer in (("green", "blue"), ("blue", "green")):
            words = ["--peer", ADDRESS[peer][version], "--floating", *FLOATING.values()]
            self.tunnel(server, "up", *words)

    def status(self, server: str) -> dict[str, Any]:
        return dict(json.loads(self.tunnel(server, "status").stdout))

    def move(self, server: str) -> None:
        """The floating IP, in both families, to a server; from now on only that one sends it."""
        drops = ""
        for version, family in ((4, "ip"), (6, "ip6")):
            target = f"{FLOATING[version]} via {ADDRESS[server][version]}"
            self.ip("cloud", f"-{version} route replace {target}")
            drops += f'{family} saddr {FLOATING[version]} iifname != "{server}" drop\n'
        chain = f"chain forward {{ type filter hook forward priority 0;\n{drops} }}"
        fresh = "table inet cloud\ndelete table inet cloud\n"
        self.nft("cloud", f"{fresh}table inet cloud {{\n{chain}\n}}\n")

    def tell(self, server: str) -> None:
        """Nothing: the server learns by packets that the address has left it."""

    def moved(self, _server: str) -> set[str]:
        """The addresses that have left a server which was told so."""
        return {*FLOATING.values()}

    @contextmanager
    def inside(self, place: str) -> Iterator[None]:
        """This thread is in a namespace; sockets made meanwhile stay there."""
        with (
            Path("/proc/thread-self/ns/net").open("rb") as back,
            (NAMESPACES / f"{self.name}-{place}").open("rb") as there,
        ):
            enter(there.fileno())
            try:
                yield
            finally:
                enter(back.fileno())

    def connect(self, version: int, request: str, port: int = 80) -> socket.socket:
        """A connection of the client's to the floating IP, and its first line sent."""
        with self.inside("client"):
            made = socket.create_connection((FLOATING[version], port), timeout=STALLED)
        made.sendall(f"{request}\n".encode())
        return made

    def who(self, version: int, port: int = 80) -> str:
        """Which server a new connection reaches."""
        with closing(self.connect(version, "hello", port)) as made:
            return made.makefile().readline().strip()


Kind = TypeVar("Kind", bound=World)


def enter(namespace: int) -> None:
    """setns(2) for this thread: os.setns comes with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


def gateway(place: str, version: int) -> str:
    """The router's address on the place's link."""
    return str(ip_address(ADDRESS[place][version]) - 1)


def rules() -> str:
    """The packet filter of the default server."""
    part = firewall.part(resolve(read(ROOT / "specs/hobby.yaml"), None, ()).image)
    return next(file.content for file in part.files if file.path == firewall.RULES)


@contextmanager
def opened(kind: type[Kind]) -> Iterator[Kind]:
    """The namespaces, and something that answers on every server."""
    made = kind(f"bht-{secrets.token_hex(2)}")
    with ExitStack() as stack:
        for place in ("cloud", "box", *ADDRESS):
            run(["ip", "netns", "add", f"{made.name}-{place}"])
            stack.callback(run, ["ip", "netns", "delete", f"{made.name}-{place}"])
            made.ip(place, "link set lo up")
            made.run(place, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        made.lay()
        for server in ("blue", "green"):
            for version in (4, 6):
                made.ip(server, f"address add {FLOATING[version]} dev lo")
            settings = [f"{key}={value}" for key, value in SYSCTL.items() if ".ipv" in key]
            made.run(server, "sysctl", "--ignore", "-qw", *settings)
            made.nft(server, rules())
        for place in ("blue", "green", "box"):
            for version in (4, 6):
                with made.inside(place):
                    answers = stack.enter_context(Server(place, version))
                threading.Thread(target=answers.serve_forever, args=(0.05,), daemon=True).start()
                stack.callback(answers.shutdown)
        yield made


def link(world: World, place: str, other: str, name: str) -> None:
    """A cable: `eth0` at `other`, `name` at `place`; each segment is a packet, as on a wire."""
    peer = f"peer name eth0 netns {world.name}-{other} gso_max_segs 1"
    world.ip(place, f"link add {name} gso_max_segs 1 type veth {peer}")
    for end, device in ((place, name), (other, "eth0")):
        world.ip(end, f"link set {device} up")


def build(world: World) -> None:
    """The router, and everyone's link to it."""
    for place, own in ADDRESS.items():
        link(world, "cloud", place, place)
        for version, prefix in PREFIX.items():
            near, nodad = gateway(place, version), "nodad" if version == 6 else ""
            world.ip("cloud", f"address add {near}/{prefix} dev {place} {nodad}")
            world.ip(place, f"address add {own[version]}/{prefix} dev eth0 {nodad}")
            world.ip(place, f"-{version} route add default via {near}")
    world.run("cloud", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


def containers(world: World) -> None:
    """A container on blue, with the rules that Docker makes for it."""
    link(world, "blue", "box", "br-app0")
    world.ip("blue", "address add 172.20.0.1/24 dev br-app0")
    world.ip("box", f"address add {BOX}/24 dev eth0")
    world.ip("box", "route add default via 172.20.0.1")
    world.run("blue", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    world.nft(
        "blue",
        f"""
        table ip nat {{
          chain prerouting {{
            type nat hook prerouting priority dstnat;
            fib daddr type local iifname != "br-app0" tcp dport {PUBLISHED} dnat to {BOX}:80
          }}
          chain postrouting {{
            type nat hook postrouting priority srcnat;
            ip saddr 172.20.0.0/24 oifname != "br-app0" masquerade
          }}
        }}
        table ip filter {{
          chain forward {{
            type filter hook forward priority filter; policy drop;
            oifname "br-app0" ct state related,established accept
            iifname != "br-app0" oifname "br-app0" ip daddr {BOX} tcp dport 80 accept
            iifname "br-app0" oifname != "br-app0" accept
          }}
        }}
        """,
    )


SETTINGS = "ip_forward|forwarding|rp_filter|accept_local|conntrack_tcp"


def kernel_state(world: World, server: str) -> str:
    """What a tunnel could leave behind: links, routes, rules, neighbours, tables, settings."""
    words = ("link", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule")
    shown = [world.run(server, "ip", *f"-o {line}".split()).stdout for line in words]
    shown.append(world.run(server, "nft", "--stateless", "list", "ruleset").stdout)
    shown.append(world.run(server, "sysctl", "--pattern", SETTINGS, "net").stdout)
    return "\n".join(shown)

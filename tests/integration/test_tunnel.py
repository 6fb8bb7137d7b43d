"""Connections survive the move of the floating IP: namespaces for blue, green, a client, a cloud.

The cloud's router drops what comes from the floating IP unless its holder sent it. Both servers
have the packet filter and the kernel's settings of the default server; what answers on them is a
few lines of Python, for it is packets that are tested here.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from cloudinit import firewall
from cloudinit.system import SYSCTL
from images.network import NAMESPACES, inside
from images.run import Result, run
from images.server import tunnel
from specs.plan import resolve
from specs.read import read

pytestmark = pytest.mark.root

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
PUBLISHED = 443
"""The default server's filter lets it in."""

STALLED = 2.0
"""Seconds without a byte after which a connection counts as cut; Linux first sends again after
200 ms, then after 400, 800 …"""

TCP_REPAIR = 19  # linux/tcp.h
BLOCK = 64 * 1024
BLOCKS = 192
"""12 MiB: more than the kernels on both sides take in advance (tcp_rmem, tcp_wmem)."""


def gateway(place: str, version: int) -> str:
    """The router's address on the place's link."""
    return str(ip_address(ADDRESS[place][version]) - 1)


class Answers(socketserver.BaseRequestHandler):
    """One connection: its first line says what it wants."""

    def handle(self) -> None:
        name = self.server.name  # type: ignore[attr-defined]  # ours
        file = self.request.makefile("rb")
        match file.readline().split():
            case [b"download"]:
                for number in range(BLOCKS):
                    self.request.sendall(block(number))
            case [b"upload", size]:
                digest = hashlib.sha256(file.read(int(size))).hexdigest()
                self.request.sendall(f"{digest}\n".encode())
            case [b"push"]:
                while True:
                    self.request.sendall(b"tick\n")
                    time.sleep(0.02)
            case _:
                self.request.sendall(f"{name}\n".encode())
                for line in file:
                    self.request.sendall(f"{name} ".encode() + line)


class Server(socketserver.ThreadingTCPServer):
    """Answers on all addresses of one family, in the namespace of the thread that makes it."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, name: str, version: int) -> None:
        self.name = name
        self.address_family = socket.AF_INET if version == 4 else socket.AF_INET6
        super().__init__(("", 80), Answers)

    def server_bind(self) -> None:
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        super().server_bind()

    def handle_error(self, *_: object) -> None:
        """A connection that a test broke off."""


def block(number: int) -> bytes:
    return bytes([number % 251]) * BLOCK


@dataclass(frozen=True)
class World:
    """The namespaces of one test, whose names all begin with `name`."""

    name: str

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


def enter(namespace: int) -> None:
    """setns(2) for this thread: os.setns comes with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, 0x40000000) != 0:  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "setns")


@pytest.fixture(scope="module")
def rules() -> str:
    """The packet filter of the default server."""
    spec = read(ROOT / "specs/hobby.yaml")
    part = firewall.part(resolve(spec, None, ()).image)
    return next(file.content for file in part.files if file.path == firewall.RULES)


@pytest.fixture(scope="module")
def built(rules: str) -> Iterator[World]:
    """The namespaces, and something that answers on every server."""
    made = World(f"bht-{secrets.token_hex(2)}")
    with ExitStack() as stack:
        for place in ("cloud", "box", *ADDRESS):
            run(["ip", "netns", "add", f"{made.name}-{place}"])
            stack.callback(run, ["ip", "netns", "delete", f"{made.name}-{place}"])
            made.ip(place, "link set lo up")
            made.run(place, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
        build(made)
        for server in ("blue", "green"):
            for version in (4, 6):
                made.ip(server, f"address add {FLOATING[version]} dev lo")
            settings = [f"{key}={value}" for key, value in SYSCTL.items() if ".ipv" in key]
            made.run(server, "sysctl", "--ignore", "-qw", *settings)
            made.nft(server, rules)
        containers(made)
        for place in ("blue", "green", "box"):
            for version in (4, 6):
                with made.inside(place):
                    answers = stack.enter_context(Server(place, version))
                threading.Thread(target=answers.serve_forever, args=(0.05,), daemon=True).start()
                stack.callback(answers.shutdown)
        yield made


@pytest.fixture
def world(built: World) -> World:
    """Blue has the floating IP, and there is no tunnel."""
    for server in ("blue", "green"):
        built.tunnel(server, "down")
    built.move("blue")
    return built


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


class Traffic:
    """Connections in flight: each is told by a name, and ends with what became of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ended: dict[str, str] = {}
        self.threads: list[threading.Thread] = []
        self.moved = threading.Event()

    def start(self, name: str, work: Callable[..., None], version: int, port: int = 80) -> None:
        """`work(version, port, ready)` in a thread; returns once it is under way."""
        ready = threading.Event()

        def run() -> None:
            try:
                work(version, port, ready)
                self.ended[name] = "whole"
            except OSError as error:
                self.ended[name] = f"cut: {error}"

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self.threads.append(thread)
        assert ready.wait(5), f"{name} does not begin"

    def end(self) -> dict[str, str]:
        """What became of each, once all have ended."""
        for thread in self.threads:
            thread.join(30)
        return self.ended

    def download(self, version: int, port: int, ready: threading.Event) -> None:
        """Slow enough to be under way when the address moves; then as fast as it comes."""
        with closing(self.world.connect(version, "download", port)) as made:
            file = made.makefile("rb")
            for number in range(BLOCKS):
                if file.read(BLOCK) != block(number):
                    raise OSError("other bytes")
                if number == 2:
                    ready.set()
                    self.moved.wait(10)

    def upload(self, version: int, port: int, ready: threading.Event) -> None:
        """As slow, and whole by its digest."""
        digest = hashlib.sha256()
        with closing(self.world.connect(version, f"upload {BLOCKS * BLOCK}", port)) as made:
            for number in range(BLOCKS):
                made.sendall(block(number))
                digest.update(block(number))
                if number == 2:
                    ready.set()
                    self.moved.wait(10)
            if made.makefile().readline().strip() != digest.hexdigest():
                raise OSError("another digest")

    def idle(self, version: int, port: int, ready: threading.Event) -> None:
        """A kept-alive connection: nothing happens on it until after the move."""
        with closing(self.world.connect(version, "hello", port)) as made:
            file = made.makefile("rw")
            before = file.readline().strip()
            ready.set()
            self.moved.wait(10)
            for number in range(3):
                file.write(f"{number}\n")
                file.flush()
                if file.readline() != f"{before} {number}\n":
                    raise OSError("another answer")

    def two_way(self, version: int, port: int, ready: threading.Event) -> None:
        """Like a WebSocket: small messages both ways, all the time."""
        with closing(self.world.connect(version, "hello", port)) as made:
            file = made.makefile("rw")
            before = file.readline().strip()
            after = 0
            while after < 50:
                file.write("ping\n")
                file.flush()
                if file.readline() != f"{before} ping\n":
                    raise OSError("another answer")
                ready.set()
                after += self.moved.is_set()
                time.sleep(0.005)

    def pushed(self, version: int, port: int, ready: threading.Event) -> None:
        """Only the server speaks."""
        with closing(self.world.connect(version, "push", port)) as made:
            file = made.makefile()
            after = 0
            while after < 50:
                if not file.readline():
                    raise OSError("closed")
                ready.set()
                after += self.moved.is_set()


KINDS = ("download", "upload", "idle", "two_way", "pushed")


def begin(world: World) -> Traffic:
    """Every kind of connection, in both families, and to a container."""
    traffic = Traffic(world)
    for kind in KINDS:
        work = getattr(traffic, kind)
        for version in (4, 6):
            traffic.start(f"{kind} IPv{version}", work, version)
        traffic.start(f"{kind} published", work, 4, PUBLISHED)
    return traffic


SETTINGS = "ip_forward|forwarding|rp_filter|accept_local|conntrack_tcp"


def kernel_state(world: World, server: str) -> str:
    """What a tunnel could leave behind: links, routes, rules, neighbours, tables, settings."""
    words = ("link", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule")
    shown = [world.run(server, "ip", *f"-o {line}".split()).stdout for line in words]
    shown.append(world.run(server, "nft", "--stateless", "list", "ruleset").stdout)
    shown.append(world.run(server, "sysctl", "--pattern", SETTINGS, "net").stdout)
    return "\n".join(shown)


@pytest.mark.parametrize("version", [4, 6])
def test_connections_in_flight_survive_the_move(world: World, version: int) -> None:
    traffic = begin(world)
    world.up(version=version)
    world.move("green")
    assert world.who(4) == world.who(6) == "green"
    traffic.moved.set()
    assert set(traffic.end().values()) == {"whole"}, traffic.ended
    counters = world.status("blue")["counters"]
    assert counters["answers"]["packets"] > 1000
    assert counters["refused"]["packets"] == 0


def test_without_the_tunnel_they_are_cut(world: World) -> None:
    """So the router does what clouds do, and the test above can fail."""
    traffic = begin(world)
    world.move("green")
    assert world.who(4) == world.who(6) == "green"
    traffic.moved.set()
    assert {kind for kind, how in traffic.end().items() if how == "whole"} == set(), traffic.ended


def test_a_server_that_only_speaks_is_heard(world: World) -> None:
    """No packet of a client's tells blue that the address is gone, so somebody has to."""
    world.up()
    traffic = Traffic(world)
    for version in (4, 6):
        traffic.start(f"pushed IPv{version}", traffic.pushed, version)
    world.move("green")
    world.tunnel("blue", "moved")
    traffic.moved.set()
    assert set(traffic.end().values()) == {"whole"}, traffic.ended


def test_back_and_forth(world: World) -> None:
    """A rollback during the drain: connections to either server live on."""
    traffic = Traffic(world)
    traffic.start("to blue", traffic.two_way, 4)
    world.up()
    world.move("green")
    assert world.who(4) == "green"
    traffic.start("to green", traffic.two_way, 6)
    world.move("blue")
    assert world.who(4) == "blue"
    traffic.moved.set()
    assert traffic.end() == {"to blue": "whole", "to green": "whole"}


def test_ready_before_the_move_and_harmless(world: World) -> None:
    world.up()
    traffic = begin(world)
    traffic.moved.set()
    assert set(traffic.end().values()) == {"whole"}, traffic.ended
    assert world.who(4, PUBLISHED) == "box"
    assert world.status("blue")["moved"] == []
    for server in ("blue", "green"):
        counters = world.status(server)["counters"].values()
        assert {counter["packets"] for counter in counters} == {0}


def test_the_move_may_fail_and_come_back(world: World) -> None:
    """Blue answers directly again as soon as packets come directly."""
    world.up()
    traffic = Traffic(world)
    traffic.start("two_way", traffic.two_way, 4)
    world.move("green")
    world.tunnel("blue", "moved")
    assert len(world.status("blue")["moved"]) == 2
    world.move("blue")
    traffic.moved.set()
    assert traffic.end() == {"two_way": "whole"}
    assert world.status("blue")["moved"] == [FLOATING[6]]


def test_a_connection_that_nobody_knows_is_refused_at_once(world: World) -> None:
    """As after a power cut of the server that knew it."""
    world.up()
    world.move("green")
    for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        with world.inside("client"), socket.socket(family) as made:
            made.settimeout(STALLED)
            made.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
            made.connect((FLOATING[version], 80))  # without a packet (tcp(7) of CRIU)
            made.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 0)
            with pytest.raises(ConnectionResetError):
                made.recv(1)
    assert world.status("blue")["counters"]["refused"]["packets"] == 2


def test_nothing_is_left_after_it(world: World) -> None:
    before = {server: kernel_state(world, server) for server in ("blue", "green")}
    for version in (4, 6, 6):
        world.up(version)
        assert world.status("blue")["peer"] == ADDRESS["green"][version]
    assert kernel_state(world, "blue") != before["blue"]
    for server, state in before.items():
        for _ in range(2):
            world.tunnel(server, "down")
            assert kernel_state(world, server) == state
        assert world.status(server) == {"up": False}


def test_up_twice_is_up_once(world: World) -> None:
    world.up()
    world.tunnel("blue", "moved")
    once = kernel_state(world, "blue")
    world.up()
    assert kernel_state(world, "blue") == once
    assert len(world.status("blue")["moved"]) == 2


def test_what_was_half_made_is_made_anew(world: World) -> None:
    world.up()
    world.run("blue", "ip", "link", "set", tunnel.LINK, "alias", "")
    world.ip("blue", "rule delete priority 4789")
    world.nft("blue", f"delete table ip {tunnel.TABLE}")
    assert world.status("blue") == {"up": False}
    traffic = Traffic(world)
    traffic.start("two_way", traffic.two_way, 4)
    world.up()
    world.move("green")
    traffic.moved.set()
    assert traffic.end() == {"two_way": "whole"}


def test_only_the_peer_speaks_into_it(world: World) -> None:
    world.up()
    frame = (
        bytes.fromhex("0800000000 12b500".replace(" ", "")) + b"\xff" * 12 + b"\x08\x00" + b"?" * 46
    )
    for place, heard in (("client", 0), ("green", 1)):
        with world.inside(place), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.sendto(frame, (ADDRESS["blue"][4], tunnel.PORT))
        shown = world.run("blue", "ip", "-j", "-s", "link", "show", "dev", tunnel.LINK).stdout
        assert json.loads(shown)[0]["stats64"]["rx"]["packets"] == heard


def test_what_cannot_work_is_refused_and_changes_nothing(world: World) -> None:
    state = kernel_state(world, "blue")
    for peer, why in (("192.0.2.2", "an address of this server"), ("203.0.113.300", "invalid")):
        words = ["up", "--peer", peer, "--floating", FLOATING[4]]
        result = world.tunnel("blue", *words, check=False)
        assert result.code != 0
        assert kernel_state(world, "blue") == state
        assert why in result.stderr


def test_a_strict_filter_is_refused(world: World) -> None:
    strict = "net.ipv4.conf.all.rp_filter"
    world.run("blue", "sysctl", "-qw", f"{strict}=1")
    try:
        words = ["up", "--peer", ADDRESS["green"][4], "--floating", FLOATING[4]]
        assert f"{strict} is 1" in world.tunnel("blue", *words, check=False).stderr
    finally:
        world.run("blue", "sysctl", "-qw", f"{strict}=2")

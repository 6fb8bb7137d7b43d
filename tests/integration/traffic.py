"""Connections to a floating IP: what answers on the servers, and clients of every kind."""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.integration.world import World

PUBLISHED = 443
"""A container's port on blue; the default server's filter lets it in."""

STALLED = 2.0
"""Seconds without a byte after which a connection counts as cut; Linux first sends again after
200 ms, then after 400, 800 …"""

BLOCK = 64 * 1024
BLOCKS = 192
"""12 MiB: more than the kernels on both sides take in advance (tcp_rmem, tcp_wmem)."""


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
    """Every kind of connection, in all families, and to a container."""
    traffic = Traffic(world)
    for kind in KINDS:
        work = getattr(traffic, kind)
        for version in world.versions:
            traffic.start(f"{kind} IPv{version}", work, version)
        traffic.start(f"{kind} published", work, 4, PUBLISHED)
    return traffic

"""Which TCP ports answer: all 65,535 at once, from the client's side."""

from __future__ import annotations

import errno
import resource
import select
import socket
import time
from collections.abc import Iterator

PORTS = 65_535
PATIENCE = 1.5
"""Seconds for an answer: Linux repeats a lost SYN after 1 s (RFC 6298), so each has two tries."""

PACE = 20_000
"""SYNs in one second: below what overflows the queue of a virtual link."""


def open_ports(address: str) -> set[int]:
    """Ports at which a connection is accepted; what is refused or dropped is closed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = min(hard - 200, PORTS)
    found: set[int] = set()
    ports = iter(range(1, PORTS + 1))
    while wave := [port for port, _ in zip(ports, range(room), strict=False)]:
        found |= _wave(address, wave)
    return found


def _wave(address: str, ports: list[int]) -> set[int]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    poll, waiting, found = select.epoll(), {}, set()
    for number, port in enumerate(ports):
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = sock.connect_ex((address, port))
        if code == 0:
            found.add(port)
        elif code == errno.EINPROGRESS:
            waiting[sock.fileno()] = (sock, port)
            poll.register(sock.fileno(), select.EPOLLOUT)
            continue
        sock.close()
        if number % 1000 == 0:
            time.sleep(1000 / PACE)
    deadline = time.monotonic() + PATIENCE
    while waiting and (left := deadline - time.monotonic()) > 0:
        for sock, port in _answered(poll, waiting, left):
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.add(port)
            sock.close()
    for sock, _ in waiting.values():
        sock.close()
    poll.close()
    return found


def _answered(
    poll: select.epoll, waiting: dict[int, tuple[socket.socket, int]], seconds: float
) -> Iterator[tuple[socket.socket, int]]:
    for handle, _ in poll.poll(seconds):
        poll.unregister(handle)
        yield waiting.pop(handle)

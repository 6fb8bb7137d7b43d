"""Lets held requests go: takes connections from `bakehouse-hold.socket` once they may be answered.

While the file `holding.HOLD` says `hold` nothing is accepted and Caddy's connections wait in the
kernel's queue, their requests with them. Then each is joined to the replica that it was meant for
(its destination before nftables led it here), here or at the peer. Whoever was not led here meant
none and is sent away: otherwise this port would be joined to itself, for ever.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from . import holding, state
from .holding import FORWARD, HOLD

PIECE: Final = 65_536
SOON: Final = 0.005
"""Seconds between two looks at the file while requests wait."""

ORIGINAL_DESTINATION: Final = 80
"""`SO_ORIGINAL_DST` (linux/netfilter_ipv4.h)."""

LISTENER: Final = 3
"""The first file descriptor that systemd passes on (sd_listen_fds(3))."""


def mode() -> str:
    """`hold`, `here` or `peer`."""
    try:
        return HOLD.read_text()
    except FileNotFoundError:
        return "here"


def meant_for(connection: socket.socket) -> int:
    """The port that Caddy asked for."""
    address = connection.getsockopt(socket.SOL_IP, ORIGINAL_DESTINATION, 16)
    return int(struct.unpack("!H", address[2:4])[0])


async def serve(listener: socket.socket, held: Collection[int]) -> None:
    """Accept for ever, but only when nothing is held; `held` are the ports that may be meant."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    while True:
        await readable(listener)
        while mode() == "hold":
            await asyncio.sleep(SOON)
        connection, _ = await loop.sock_accept(listener)
        task = loop.create_task(join(connection, held))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def readable(listener: socket.socket) -> None:
    """Until somebody waits to be accepted."""
    loop = asyncio.get_running_loop()
    waits = loop.create_future()

    def arrived() -> None:
        loop.remove_reader(listener)
        waits.set_result(None)

    loop.add_reader(listener, arrived)
    await waits


async def join(connection: socket.socket, held: Collection[int]) -> None:
    """One request's bytes both ways. A replica that refuses ends the connection, as it would."""
    with suppress(OSError):
        wanted = meant_for(connection)
        if wanted not in held:
            connection.close()
            return
        port = wanted + (FORWARD if mode() == "peer" else 0)
        here = await asyncio.open_connection(sock=connection)
        try:
            there = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            here[1].transport.abort()
            raise
        try:
            await asyncio.gather(copy(here[0], there[1]), copy(there[0], here[1]))
        finally:
            here[1].close()
            there[1].close()


async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Until `source` says that it is over; then `sink` hears it, too."""
    try:
        while piece := await source.read(PIECE):
            sink.write(piece)
            await sink.drain()
        sink.write_eof()
    except OSError:
        sink.transport.abort()
        raise


def main() -> None:
    """Serve the socket that systemd passed on."""
    listener = socket.socket(fileno=LISTENER)
    listener.setblocking(False)
    asyncio.run(serve(listener, frozenset(holding.ports())))


if __name__ == "__main__":
    state.run_program(main)

"""One HTTP/1.1 connection of a user's, which hides nothing: no retry, no redirect, no pool.

A library's client opens another connection when one fails, which is just what is to be counted.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

BUFFER = 16 * 1024
"""Bytes that a connection reads ahead, and the longest line."""


class CutError(Exception):
    """The connection ended, or said nothing sensible, before the answer was whole."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `last` when the server will close the connection after it."""

    status: int
    body: bytes
    last: bool


@dataclass(slots=True)
class Connection:
    """A TCP connection to one of the server's addresses; `asked` counts its requests."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    family: int
    host: str
    asked: int = 0

    @property
    def ended(self) -> bool:
        """Whether the server closed it while nobody asked anything."""
        return self.reader.at_eof() or self.reader.exception() is not None

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """One request and its answer. Raises CutError."""
        try:
            self.begin(method, path, len(body))
            self.writer.write(body)
            await self.writer.drain()
            return await self.answer()
        except OSError as error:
            raise CutError(f"{type(error).__name__}: {error}") from error

    async def send_slowly(self, path: str, pieces: AsyncIterator[bytes], size: int) -> Answer:
        """PUT a file whose pieces come when they come. Raises CutError."""
        try:
            self.begin("PUT", path, size)
            async for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
            return await self.answer()
        except OSError as error:
            raise CutError(f"{type(error).__name__}: {error}") from error

    def begin(self, method: str, path: str, size: int) -> None:
        """The head of a request."""
        self.asked += 1
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", "User-Agent: load"]
        if method in ("POST", "PUT"):
            lines += ["Content-Type: application/json", f"Content-Length: {size}"]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    async def answer(self) -> Answer:
        """A whole answer. Raises CutError, OSError."""
        status, length, last = await self.head()
        body = bytearray()
        async for piece in self.pieces(length):
            body += piece
        return Answer(status, bytes(body), last)

    async def head(self) -> tuple[int, int | None, bool]:
        """Status, length of the body (None: in chunks), and whether the connection ends with it."""
        words = (await self._line("no answer")).split(" ", 2)
        if len(words) < 2 or not words[1].isdigit():
            raise CutError(f"no status line: {words}")
        length: int | None = 0
        last = False
        while line := await self._line("cut in the head"):
            name, _, value = line.partition(":")
            match name.lower(), value.strip().lower():
                case "content-length", text:
                    length = int(text)
                case "transfer-encoding", "chunked":
                    length = None
                case "connection", "close":
                    last = True
        return int(words[1]), length, last

    async def pieces(self, length: int | None, most: int = 64 * 1024) -> AsyncIterator[bytes]:
        """The body as it comes, at most so many bytes at once. Raises CutError."""
        if length is not None:
            while length > 0:
                piece = await self.reader.read(min(most, length))
                if not piece:
                    raise CutError(f"cut in the body, {length} bytes before its end")
                length -= len(piece)
                yield piece
            return
        while size := int(await self._line("cut between chunks"), 16):
            async for piece in self.pieces(size, most):
                yield piece
            await self._line("cut after a chunk")
        await self._line("cut after the last chunk")

    async def _line(self, when: str) -> str:
        line = await self.reader.readline()
        if not line.endswith(b"\n"):
            raise CutError(when)
        return line.decode("latin-1").rstrip("\r\n")

    def close(self) -> None:
        """At once; nothing is waited for."""
        self.writer.close()


async def connect(address: str, port: int, receive: int = 0) -> Connection:
    """A new connection; `receive` bytes, unless 0, are what our kernel takes in advance.

    Raises CutError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setblocking(False)
    if receive:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
        reader, writer = await asyncio.open_connection(sock=made, limit=BUFFER)
    except OSError as error:
        made.close()
        raise CutError(f"no connection: {error}") from error
    host = f"[{address}]" if ":" in address else address
    return Connection(reader, writer, 6 if ":" in address else 4, f"{host}:{port}")

"""A client of Postgres and of PgBouncer's console over a unix socket, in one process.

Inside the pause of a swap each start of a `psql` would be part of it. Simple queries only, as the
administrator whom the system account proves (PostgreSQL documentation, "Message Formats").
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Final

from . import state

PROTOCOL: Final = 196608
"""Version 3.0."""

POSTGRES: Final = f"{state.SOCKETS}/.s.PGSQL.5432"
PEER: Final = f"{state.RUN}/peer/.s.PGSQL.5432"
REPLICATOR: Final = "replicator"
"""The role as which the peer lets us in to everything that it has, to copy it."""

POOLER: Final = "/run/pgbouncer/.s.PGSQL.6432"

Row = tuple[str, ...]
"""A row's columns as text; NULL is "" here."""


class Wire:
    """A connection. What the server refuses is a ProgramError, silence a TimeoutError."""

    def __init__(
        self, path: str, user: str, database: str, patience: float = 10.0, **more: str
    ) -> None:
        """Connect and log in, with `more` parameters. `patience` is the seconds that any answer may
        take."""
        self.patience = patience
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(patience)
        self.buffer = b""
        self.asked = "log in"
        self.columns: list[str] = []
        try:
            self.socket.connect(path)
            known = {"user": user, "database": database, "application_name": "bakehouse"}
            self._log_in({**known, **more})
        except OSError as error:
            self.close()
            raise state.ProgramError(f"{path}: {error}") from error
        except state.ProgramError:
            self.close()
            raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def query(self, sql: str, patience: float | None = None) -> list[Row]:
        """The rows of a script's statements, in order. Raises ProgramError with the first error."""
        self.send(sql)
        return self.receive(patience)

    def send(self, sql: str) -> None:
        """Ask, and do not wait for the answer."""
        self.asked = sql
        try:
            self.socket.sendall(_message(b"Q", sql.encode() + b"\0"))
        except OSError as error:
            raise state.ProgramError(f"{sql}: {error}") from error

    def receive(self, patience: float | None = None) -> list[Row]:
        """The answer to what was sent.

        Raises TimeoutError when there is none after `patience` seconds; it may be waited for again.
        """
        end = time.monotonic() + (self.patience if patience is None else patience)
        rows: list[Row] = []
        failure = ""
        try:
            for kind, body in self._messages(end):
                if kind == b"D":
                    rows.append(_row(body))
                elif kind == b"T":
                    self.columns = _columns(body)
                elif kind == b"E":
                    failure = failure or _error(body)
                elif kind == b"Z":
                    break
        except TimeoutError:
            raise TimeoutError(f"{self.asked}: no answer") from None
        except OSError as error:
            raise state.ProgramError(f"{self.asked}: {error}") from error
        if failure:
            raise state.ProgramError(f"{self.asked}: {failure}")
        return rows

    def value(self, sql: str) -> str:
        """The only column of the only row; "" when there is none."""
        rows = self.query(sql)
        return rows[0][0] if rows else ""

    def _log_in(self, parameters: Mapping[str, str]) -> None:
        words = b"".join(f"{k}\0{v}\0".encode() for k, v in parameters.items()) + b"\0"
        self.socket.sendall(struct.pack("!II", len(words) + 8, PROTOCOL) + words)
        for kind, body in self._messages(time.monotonic() + self.patience):
            if kind == b"E":
                raise state.ProgramError(_error(body))
            if kind == b"R" and struct.unpack("!I", body[:4])[0] != 0:
                raise state.ProgramError("the server wants a password from the administrator")
            if kind == b"Z":
                return

    def _messages(self, end: float) -> Iterator[tuple[bytes, bytes]]:
        """The server's messages until `end`, a moment of the monotonic clock."""
        while True:
            while len(self.buffer) < 5 or len(self.buffer) < 1 + _length(self.buffer):
                self.socket.settimeout(max(end - time.monotonic(), 0.001))
                more = self.socket.recv(65536)
                if not more:
                    raise ConnectionResetError("the server hung up")
                self.buffer += more
            size = 1 + _length(self.buffer)
            message, self.buffer = self.buffer[:size], self.buffer[size:]
            yield message[:1], message[5:]


def postgres(patience: float = 10.0) -> Wire:
    """This server's Postgres, as its administrator."""
    return Wire(POSTGRES, "postgres", "postgres", patience)


def peer(patience: float = 10.0) -> Wire:
    """The peer's Postgres, for commands of replication and `SHOW` (PostgreSQL documentation,
    "Streaming Replication Protocol"); by a name that is no standby's."""
    more = {"replication": "true", "application_name": "bakehouse-asks"}
    return Wire(PEER, REPLICATOR, "replication", patience, **more)


def pooler(patience: float = 10.0) -> Wire:
    """The console of this server's pooler."""
    return Wire(POOLER, "pgbouncer", "pgbouncer", patience)


def quoted(text: str) -> str:
    """A literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


def _length(buffer: bytes) -> int:
    return int(struct.unpack("!I", buffer[1:5])[0])


def _row(body: bytes) -> Row:
    (count,) = struct.unpack("!H", body[:2])
    at, columns = 2, []
    for _ in range(count):
        (size,) = struct.unpack("!i", body[at : at + 4])
        at += 4
        columns.append(body[at : at + size].decode() if size > 0 else "")
        at += max(size, 0)
    return tuple(columns)


def _columns(body: bytes) -> list[str]:
    """The names in a row description: each is followed by 18 bytes about its type."""
    names, at = [], 2
    while at < len(body):
        end = body.index(b"\0", at)
        names.append(body[at:end].decode())
        at = end + 19
    return names


def _error(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return f"{fields.get(b'M', 'an error without words')} ({fields.get(b'C', '')})"

"""Entries in Postgres. What is acknowledged is committed; what failed in between is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from psycopg import Connection
from psycopg_pool import ConnectionPool, PoolTimeout

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds to go on while the database restarts, is paused, or is another server's by now."""

LATER = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction, PoolTimeout)
"""Errors that pass by themselves: a lost connection, a standby that is about to be promoted."""

TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    id text PRIMARY KEY,
    name text NOT NULL,
    text text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS entries_at ON entries (at DESC, id);
"""


class UnavailableError(Exception):
    """The database did not answer for `PATIENCE` seconds."""


@dataclass(frozen=True)
class Entry:
    """One entry. `id` is chosen by who writes it, so that writing it twice is writing it once."""

    id: str
    name: str
    text: str
    at: datetime

    def as_data(self) -> dict[str, str]:
        """For JSON."""
        return {**asdict(self), "at": self.at.isoformat()}


class Entries:
    """The table of entries, through a pool of connections that heals itself."""

    def __init__(self, url: str) -> None:
        # No prepared statements: then any pooler in any mode will do.
        self.pool = ConnectionPool(
            url,
            min_size=1,
            max_size=8,
            timeout=PATIENCE,
            open=True,
            kwargs={"prepare_threshold": None, "connect_timeout": 10},
        )

    def prepare(self) -> None:
        """Make the table unless it is there; waits for the database as long as that takes."""
        while True:
            try:
                self._retry(self._make_table)
            except UnavailableError as error:
                print(f"no database yet: {error}", flush=True)
            else:
                return

    def close(self) -> None:
        """End the connections and the pool's threads, which would hold up the exit."""
        self.pool.close(timeout=2)

    def check(self) -> None:
        """Raises UnavailableError unless the table answers."""
        self._retry(lambda c: c.execute("SELECT 1 FROM entries LIMIT 1"), patience=3)

    def add(self, id: str, name: str, text: str) -> tuple[Entry, bool]:
        """The entry as stored, committed, and whether it is new."""

        def write(connection: Connection[Any]) -> bool:
            done = connection.execute(
                "INSERT INTO entries (id, name, text) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                (id, name, text),
            )
            return bool(done.rowcount == 1)

        new = self._retry(write)
        found = self.get(id)
        assert found is not None
        return found, new

    def get(self, id: str) -> Entry | None:
        """The entry with this id."""
        rows = self._rows("SELECT id, name, text, at FROM entries WHERE id = %s", (id,))
        return rows[0] if rows else None

    def newest(self, limit: int) -> list[Entry]:
        """The newest entries first."""
        return self._rows(
            "SELECT id, name, text, at FROM entries ORDER BY at DESC, id LIMIT %s", (limit,)
        )

    def count(self) -> int:
        """How many there are."""

        def read(connection: Connection[Any]) -> int:
            row = connection.execute("SELECT count(*) FROM entries").fetchone()
            return int(row[0]) if row else 0

        return self._retry(read)

    def _rows(self, query: str, values: tuple[Any, ...]) -> list[Entry]:
        return self._retry(lambda c: [Entry(*row) for row in c.execute(query, values)])

    @staticmethod
    def _make_table(connection: Connection[Any]) -> None:
        row = connection.execute("SELECT to_regclass('entries') IS NULL").fetchone()
        if row and row[0]:
            # Replicas start together, and CREATE … IF NOT EXISTS alone may run into itself.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('guestbook'))")
            connection.execute(TABLE)

    def _retry(self, work: Callable[[Connection[Any]], T], patience: float = PATIENCE) -> T:
        """`work` in a transaction of its own, committed before this returns; again when it may."""
        end, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                with self.pool.connection(timeout=patience) as connection:
                    return work(connection)
            except (*LATER, psycopg.errors.UndefinedTable) as error:
                if time.monotonic() + pause > end:
                    raise UnavailableError(str(error).strip()) from error
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

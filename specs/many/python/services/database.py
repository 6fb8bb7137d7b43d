"""What the services share of Postgres: a pool, a table made once, and a second try."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

LATER = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction, PoolTimeout)
PATIENCE = 20.0
"""Seconds that a query waits for a database that restarts or moves."""


class Database:
    """The service's database. `tables` is SQL that makes what is missing."""

    def __init__(self, tables: str) -> None:
        self.tables = tables
        self.ready = False
        self.pool = ConnectionPool(
            os.environ["DATABASE_URL"],
            min_size=1,
            max_size=4,
            open=True,
            kwargs={"prepare_threshold": None, "connect_timeout": 10},
        )

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement, committed, and return its rows. What it does must bear repeating."""
        end, pause = time.monotonic() + PATIENCE, 0.05
        while True:
            try:
                with self.pool.connection(timeout=PATIENCE) as connection:
                    if not self.ready:
                        # Replicas start together, and two that make one table collide.
                        connection.execute("SELECT pg_advisory_xact_lock(1)")
                        connection.execute(self.tables)
                        self.ready = True
                    cursor = connection.execute(sql, values)
                    return cursor.fetchall() if cursor.description else []
            except LATER:
                self.ready = False
                if time.monotonic() + pause > end:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def close(self) -> None:
        """End the pool's threads, which would hold up the exit."""
        self.pool.close(timeout=2)

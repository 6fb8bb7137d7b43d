"""A worker that asks each address in TARGETS (host:port, blanks between) and notes the answer."""

from __future__ import annotations

import os
import socket
import time

from .database import Database
from .worker import every

TABLES = """
CREATE TABLE IF NOT EXISTS pulse (
    target text NOT NULL, at timestamptz NOT NULL DEFAULT now(), milliseconds real,
    PRIMARY KEY (target, at)
)
"""


def ask(target: str) -> float | None:
    """Milliseconds that a TCP connection took, or None when there was none."""
    host, _, port = target.rpartition(":")
    start = time.monotonic()
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return None
    return 1000 * (time.monotonic() - start)


def main() -> None:
    """Ask once a minute, and keep a week."""
    database = Database(TABLES)
    targets = os.environ.get("TARGETS", "").split()

    def task() -> str:
        for target in targets:
            took = ask(target)
            database.query(
                "INSERT INTO pulse (target, milliseconds) VALUES (%s, %s)", (target, took)
            )
        database.query("DELETE FROM pulse WHERE at < now() - interval '7 days'")
        return f"asked {len(targets)} targets"

    every(60, task)
    database.close()


if __name__ == "__main__":
    main()

"""A worker that counts the inbox's messages by source, for the log."""

from __future__ import annotations

from .database import Database
from .inbox import TABLES
from .worker import every


def main() -> None:
    """Count once an hour."""
    database = Database(TABLES)

    def task() -> str:
        rows = database.query("SELECT source, count(*) FROM messages GROUP BY source ORDER BY 1")
        return ", ".join(f"{source}: {count}" for source, count in rows) or "no messages"

    every(3600, task)
    database.close()


if __name__ == "__main__":
    main()

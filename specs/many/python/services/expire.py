"""A worker that forgets short links after DAYS (365)."""

from __future__ import annotations

import os

from .database import Database
from .links import TABLES
from .worker import every


def main() -> None:
    """Clean up once an hour."""
    database = Database(TABLES)
    days = int(os.environ.get("DAYS", "365"))

    def task() -> str:
        gone = database.query(
            "DELETE FROM links WHERE at < now() - make_interval(days => %s) RETURNING name", (days,)
        )
        return f"expired {len(gone)} links"

    every(3600, task)
    database.close()


if __name__ == "__main__":
    main()

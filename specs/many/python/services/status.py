"""A status page of what `pulse` found."""

from __future__ import annotations

from html import escape

from .database import Database
from .pulse import TABLES
from .web import Answer, Request, serve, well

LATEST = "SELECT DISTINCT ON (target) target, milliseconds FROM pulse ORDER BY target, at DESC"


def page(rows: list[tuple[str, float | None]]) -> str:
    """HTML with a line for each target."""
    lines = "".join(
        f"<li>{escape(target)}: {'down' if took is None else f'{took:.0f} ms'}</li>"
        for target, took in rows
    )
    return f"<!doctype html><meta charset=utf-8><title>Status</title><ul>{lines}</ul>\n"


def main() -> None:
    """Serve."""
    database = Database(TABLES)

    def show(_: Request) -> Answer:
        rows = [(target, took) for target, took in database.query(LATEST)]
        return Answer(page(rows).encode(), kind="text/html; charset=utf-8")

    serve({"GET /": show, "GET /healthz": well})
    database.close()


if __name__ == "__main__":
    main()

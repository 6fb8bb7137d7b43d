"""A link shortener: POST /links {"url": …} gives a name, GET /<name> leads there."""

from __future__ import annotations

import hashlib
from http import HTTPStatus

from .database import Database
from .web import Answer, RefusalError, Request, serve, well

TABLES = """
CREATE TABLE IF NOT EXISTS links (
    name text PRIMARY KEY, url text NOT NULL, at timestamptz NOT NULL DEFAULT now()
)
"""


def name_of(url: str) -> str:
    """The same link has the same name, so that shortening twice is shortening once."""
    return hashlib.sha256(url.encode()).hexdigest()[:8]


def main() -> None:
    """Serve."""
    database = Database(TABLES)

    def add(request: Request) -> Answer:
        url = request.json().get("url")
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise RefusalError(HTTPStatus.BAD_REQUEST, "a url is wanted")
        database.query(
            "INSERT INTO links (name, url) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (name_of(url), url),
        )
        return Answer({"name": name_of(url)}, 201)

    def follow(request: Request) -> Answer:
        rows = database.query("SELECT url FROM links WHERE name = %s", request.groups)
        if not rows:
            raise RefusalError(HTTPStatus.NOT_FOUND, "no such link")
        return Answer({"url": rows[0][0]}, 302, headers={"Location": rows[0][0]})

    serve({"POST /links": add, "GET /healthz": well, r"GET /([0-9a-f]{8})": follow})
    database.close()


if __name__ == "__main__":
    main()

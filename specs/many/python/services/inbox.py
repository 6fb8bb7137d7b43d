"""An inbox for web hooks: POST /<source> keeps the body, GET / lists the newest."""

from __future__ import annotations

import hashlib
import json

from .database import Database
from .web import Answer, Request, serve, well

TABLES = """
CREATE TABLE IF NOT EXISTS messages (
    id text PRIMARY KEY, source text NOT NULL, content jsonb NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
)
"""


def main() -> None:
    """Serve."""
    database = Database(TABLES)

    def keep(request: Request) -> Answer:
        id = hashlib.sha256(request.content).hexdigest()
        database.query(
            "INSERT INTO messages (id, source, content) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (id, request.groups[0], json.dumps(request.json())),
        )
        return Answer({"id": id}, 202)

    def newest(_: Request) -> Answer:
        rows = database.query("SELECT id, source, content FROM messages ORDER BY at DESC LIMIT 50")
        keys = ("id", "source", "content")
        return Answer([dict(zip(keys, row, strict=True)) for row in rows])

    serve({"GET /": newest, "GET /healthz": well, r"POST /([a-z-]+)": keep})
    database.close()


if __name__ == "__main__":
    main()

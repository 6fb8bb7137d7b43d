"""A visit counter: POST /<page> counts, GET /<page> tells."""

from __future__ import annotations

from .database import Database
from .web import Answer, Request, serve, well

TABLES = "CREATE TABLE IF NOT EXISTS visits (page text PRIMARY KEY, count bigint NOT NULL)"


def main() -> None:
    """Serve."""
    database = Database(TABLES)

    def count(request: Request) -> Answer:
        rows = database.query(
            "INSERT INTO visits VALUES (%s, 1)"
            " ON CONFLICT (page) DO UPDATE SET count = visits.count + 1 RETURNING count",
            request.groups,
        )
        return Answer({"count": rows[0][0]})

    def tell(request: Request) -> Answer:
        rows = database.query("SELECT count FROM visits WHERE page = %s", request.groups)
        return Answer({"count": rows[0][0] if rows else 0})

    serve({"GET /healthz": well, r"POST /([a-z-]+)": count, r"GET /([a-z-]+)": tell})
    database.close()


if __name__ == "__main__":
    main()

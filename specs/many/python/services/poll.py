"""A poll: POST /votes {"voter": …, "choice": …}, one vote for each voter; GET / counts."""

from __future__ import annotations

from http import HTTPStatus

from .database import Database
from .web import Answer, RefusalError, Request, serve, well

TABLES = "CREATE TABLE IF NOT EXISTS votes (voter text PRIMARY KEY, choice text NOT NULL)"


def main() -> None:
    """Serve."""
    database = Database(TABLES)

    def vote(request: Request) -> Answer:
        voter, choice = (request.json().get(key) for key in ("voter", "choice"))
        if not (isinstance(voter, str) and voter and isinstance(choice, str) and choice):
            raise RefusalError(HTTPStatus.BAD_REQUEST, "a voter and a choice are wanted")
        database.query(
            "INSERT INTO votes VALUES (%s, %s)"
            " ON CONFLICT (voter) DO UPDATE SET choice = excluded.choice",
            (voter, choice),
        )
        return Answer({"choice": choice}, 201)

    def result(_: Request) -> Answer:
        rows = database.query("SELECT choice, count(*) FROM votes GROUP BY choice ORDER BY 1")
        return Answer(dict(rows))

    serve({"GET /": result, "POST /votes": vote, "GET /healthz": well})
    database.close()


if __name__ == "__main__":
    main()

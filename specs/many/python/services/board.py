"""A board of tasks: POST /tasks {"id": …, "text": …}, DELETE /tasks/<id>, GET /."""

from __future__ import annotations

from http import HTTPStatus

from .database import Database
from .web import Answer, RefusalError, Request, serve, well

TABLES = "CREATE TABLE IF NOT EXISTS tasks (id text PRIMARY KEY, text text NOT NULL)"


def main() -> None:
    """Serve."""
    database = Database(TABLES)

    def add(request: Request) -> Answer:
        id, text = (request.json().get(key) for key in ("id", "text"))
        if not (isinstance(id, str) and id and isinstance(text, str) and text):
            raise RefusalError(HTTPStatus.BAD_REQUEST, "an id and a text are wanted")
        database.query("INSERT INTO tasks VALUES (%s, %s) ON CONFLICT DO NOTHING", (id, text))
        return Answer({"id": id}, 201)

    def done(request: Request) -> Answer:
        database.query("DELETE FROM tasks WHERE id = %s", request.groups)
        return Answer({})

    def show(_: Request) -> Answer:
        return Answer(dict(database.query("SELECT id, text FROM tasks ORDER BY id")))

    serve(
        {
            "GET /": show,
            "GET /healthz": well,
            "POST /tasks": add,
            r"DELETE /tasks/([\w.-]+)": done,
        }
    )
    database.close()


if __name__ == "__main__":
    main()

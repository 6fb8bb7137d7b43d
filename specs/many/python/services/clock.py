"""The time, in the zone that is asked for: GET /Europe/Berlin."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from zoneinfo import ZoneInfo

from .web import Answer, RefusalError, Request, serve, well


def now(zone: str) -> str:
    """The time there. Raises RefusalError for a zone that is not known."""
    try:
        return datetime.now(ZoneInfo(zone)).isoformat()
    except (KeyError, ValueError, OSError) as error:
        raise RefusalError(HTTPStatus.NOT_FOUND, "no such zone") from error


def main() -> None:
    """Serve."""

    def utc(_: Request) -> Answer:
        return Answer({"time": datetime.now(UTC).isoformat()})

    def local(request: Request) -> Answer:
        return Answer({"time": now(request.groups[0])})

    serve({"GET /": utc, "GET /healthz": well, r"GET /([A-Za-z_]+(?:/[A-Za-z_]+)*)": local})


if __name__ == "__main__":
    main()

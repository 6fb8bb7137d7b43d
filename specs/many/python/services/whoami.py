"""Says which replica answers, and what it saw of the request."""

from __future__ import annotations

import socket

from .web import Answer, Request, serve, well


def main() -> None:
    """Serve."""

    def show(request: Request) -> Answer:
        return Answer({"replica": socket.gethostname(), "query": dict(request.query)})

    serve({"GET /": show, "GET /healthz": well})


if __name__ == "__main__":
    main()

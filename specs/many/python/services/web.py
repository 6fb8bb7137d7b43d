"""What the services share of HTTP: routes, JSON, and an end that lets running requests finish."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LARGEST = 256 * 1024
"""Bytes of a request's body."""


@dataclass(frozen=True)
class Request:
    """What a route gets: the groups of its pattern, the query's first values, the body."""

    groups: tuple[str, ...]
    query: Mapping[str, str]
    content: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object. Raises RefusalError when it is none."""
        try:
            data = json.loads(self.content)
        except ValueError as error:
            raise RefusalError(HTTPStatus.BAD_REQUEST, "not JSON") from error
        if not isinstance(data, dict):
            raise RefusalError(HTTPStatus.BAD_REQUEST, "not an object")
        return data


@dataclass(frozen=True)
class Answer:
    """What a route gives back; `content` that is no bytes is sent as JSON."""

    content: Any
    status: int = 200
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class RefusalError(Exception):
    """Ends a request with this status and reason."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


Route = Callable[[Request], Answer]


def serve(routes: Mapping[str, Route]) -> None:
    """Serve until SIGTERM. Keys are a method and a pattern of the whole path: `GET /x/(\\w+)`."""
    table = [(key.split(" ", 1), route) for key, route in routes.items()]
    running = threading.Semaphore(0)  # one for each request that has no answer yet

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True
        timeout = 120

        def answer(self) -> None:
            running.release()
            try:
                self.send(self.find())
            except RefusalError as error:
                self.close_connection = True
                self.send(Answer({"error": str(error)}, error.status))
            except ConnectionError:
                self.close_connection = True
            except Exception as error:
                traceback.print_exc()
                self.close_connection = True
                self.send(Answer({"error": str(error)}, HTTPStatus.SERVICE_UNAVAILABLE))
            finally:
                running.acquire()

        do_GET = do_HEAD = do_POST = do_DELETE = answer  # noqa: N815

        def send(self, found: Answer) -> None:
            plain = isinstance(found.content, bytes)
            content = found.content if plain else json.dumps(found.content).encode() + b"\n"
            self.send_response(found.status)
            headers = {"Content-Type": found.kind, "Content-Length": str(len(content))}
            for name, value in {**headers, **found.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
            self.wfile.flush()

        def find(self) -> Answer:
            size = self.headers.get("Content-Length", "0")
            if not (size.isascii() and size.isdigit()) or "Transfer-Encoding" in self.headers:
                raise RefusalError(HTTPStatus.LENGTH_REQUIRED, "a body needs its length")
            if int(size) > LARGEST:
                raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"over {LARGEST} bytes")
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            method = "GET" if self.command == "HEAD" else self.command
            for (wanted, pattern), route in table:
                match = re.fullmatch(pattern, unquote(parts.path))
                if match and wanted == method:
                    return route(Request(match.groups(), query, self.rfile.read(int(size))))
            raise RefusalError(HTTPStatus.NOT_FOUND, "nothing here")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Nothing: Caddy writes the access log."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

    server = Server(("", int(os.environ.get("PORT", "8080"))), Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever(poll_interval=0.1)
    end = time.monotonic() + 20
    while running.acquire(blocking=False) and time.monotonic() < end:
        running.release()
        time.sleep(0.02)


def well(_: Request) -> Answer:
    """A health path for what cannot be unwell while it answers."""
    return Answer({"ok": True})

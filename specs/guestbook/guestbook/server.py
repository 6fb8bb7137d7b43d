"""The web server: HTTP/1.1 with kept connections, one thread for each."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from .entries import Entries, UnavailableError
from .files import BadNameError, Files
from .page import POLICY, page
from .wire import CHUNK, BadRequestError, TooLargeError, body, entry

SHOWN = 50
SMALL = 64 * 1024
"""Bytes of an entry's request body."""


class Guestbook(ThreadingHTTPServer):
    """What the handlers share, and an end that waits for running requests."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], entries: Entries, files: Files, title: str, max_upload: int
    ) -> None:
        super().__init__(address, Handler)
        self.entries, self.files = entries, files
        self.title, self.max_upload = title, max_upload
        self.draining = False
        self.running = 0
        self.lock = threading.Lock()

    def shutdown(self) -> None:
        """Take no new connections; kept ones end with their next answer."""
        self.draining = True
        super().shutdown()

    def drain(self, patience: float) -> None:
        """Close the door, then wait until no request runs, at most `patience` seconds."""
        self.socket.close()
        end = time.monotonic() + patience
        while self.running and time.monotonic() < end:
            time.sleep(0.02)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Guestbook
    protocol_version = "HTTP/1.1"
    server_version = "guestbook"
    sys_version = ""
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = 600
    """Seconds without a byte in either direction; slow clients take their time."""

    def do_GET(self) -> None:
        """Pages, lists, files, health."""
        self.answer(self.get)

    do_HEAD = do_GET  # noqa: N815  the name that http.server calls

    def do_POST(self) -> None:
        """A new entry."""
        self.answer(self.post)

    def do_PUT(self) -> None:
        """A file."""
        self.answer(self.put)

    def answer(self, act: Callable[[str], None]) -> None:
        """Run one request to its answer; errors become answers, too."""
        with self.server.lock:
            self.server.running += 1
        try:
            act(unquote(urlsplit(self.path).path))
            self.wfile.flush()
        except BadNameError:
            self.refuse(HTTPStatus.BAD_REQUEST, "a name is letters, digits and . _ -")
        except BadRequestError as error:
            self.refuse(HTTPStatus.BAD_REQUEST, str(error))
        except TooLargeError as error:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error))
        except UnavailableError as error:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        except ConnectionError:
            self.close_connection = True
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.refuse(HTTPStatus.INSUFFICIENT_STORAGE, "no room for it")
        finally:
            with self.server.lock:
                self.server.running -= 1

    def get(self, path: str) -> None:
        """GET and HEAD."""
        store, files = self.server.entries, self.server.files
        if path == "/":
            html = page(
                self.server.title, store.newest(SHOWN), store.count(), files.names(), _new_id()
            )
            self.send(HTTPStatus.OK, html.encode(), "text/html; charset=utf-8", csp=POLICY)
        elif path == "/healthz":
            store.check()
            self.send_json(HTTPStatus.OK, {"ok": True, "replica": socket.gethostname()})
        elif path == "/entries":
            asked = parse_qs(urlsplit(self.path).query).get("limit", [str(SHOWN)])[0]
            if not (asked.isascii() and asked.isdigit()):
                raise BadRequestError("limit is not a number")
            found = [item.as_data() for item in store.newest(min(int(asked), 10_000))]
            self.send_json(HTTPStatus.OK, {"count": store.count(), "entries": found})
        elif path.startswith("/entries/"):
            one = store.get(path.removeprefix("/entries/"))
            if one is None:
                self.refuse(HTTPStatus.NOT_FOUND, "no such entry")
            else:
                self.send_json(HTTPStatus.OK, one.as_data())
        elif path == "/files":
            self.send_json(HTTPStatus.OK, {"files": files.names()})
        elif path.startswith("/files/"):
            self.send_file(path.removeprefix("/files/"))
        else:
            self.refuse(HTTPStatus.NOT_FOUND, "nothing here")

    def post(self, path: str) -> None:
        """An entry, from a form or as JSON; answered after its commit."""
        content = b"".join(self.body(SMALL))
        if path != "/entries":
            self.refuse(HTTPStatus.NOT_FOUND, "nothing here")
            return
        kind = self.headers.get("Content-Type", "application/json")
        stored, new = self.server.entries.add(*entry(content, kind))
        if kind.startswith("application/x-www-form-urlencoded"):
            self.send(HTTPStatus.SEE_OTHER, b"", "text/plain", location="/")
        else:
            self.send_json(HTTPStatus.CREATED if new else HTTPStatus.OK, stored.as_data())

    def put(self, path: str) -> None:
        """A file, answered with its checksum once it is on the disk."""
        if not path.startswith("/files/"):
            self.refuse(HTTPStatus.NOT_FOUND, "nothing here")
            return
        name = path.removeprefix("/files/")
        self.server.files.path(name)
        stored = self.server.files.put(name, self.body(self.server.max_upload))
        self.send_json(
            HTTPStatus.CREATED,
            {"name": stored.name, "size": stored.size, "sha256": stored.sha256},
        )

    def body(self, limit: int) -> Iterator[bytes]:
        """The request's body in pieces."""
        headers = self.headers
        return body(
            self.rfile, headers.get("Content-Length"), headers.get("Transfer-Encoding"), limit
        )

    def send_file(self, name: str) -> None:
        """A file, piece by piece."""
        try:
            file = self.server.files.path(name).open("rb")
        except FileNotFoundError:
            self.refuse(HTTPStatus.NOT_FOUND, "no such file")
            return
        with file:
            file.seek(0, 2)
            size = file.tell()
            file.seek(0)
            self.start(HTTPStatus.OK, "application/octet-stream", size)
            self.send_header("Content-Disposition", "attachment")
            self.end_headers()
            if self.command != "HEAD":
                shutil.copyfileobj(file, self.wfile, CHUNK)

    def send_json(self, status: HTTPStatus, data: object) -> None:
        """An answer as data."""
        self.send(status, json.dumps(data).encode() + b"\n", "application/json")

    def refuse(self, status: HTTPStatus, why: str) -> None:
        """An error. The rest of the request may be unread, so the connection ends."""
        self.close_connection = True
        self.send_json(status, {"error": why})
        self.wfile.flush()

    def send(
        self, status: HTTPStatus, content: bytes, kind: str, csp: str = "", location: str = ""
    ) -> None:
        """A whole answer."""
        self.start(status, kind, len(content))
        for name, value in (("Content-Security-Policy", csp), ("Location", location)):
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def start(self, status: HTTPStatus, kind: str, size: int) -> None:
        """Status and the headers that every answer has."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.send_header("Cache-Control", "no-store")
        if self.close_connection or self.server.draining:
            self.send_header("Connection", "close")

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: Caddy writes the access log."""


def _new_id() -> str:
    return uuid.uuid4().hex

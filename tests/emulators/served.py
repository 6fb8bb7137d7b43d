"""An HTTP API on a loopback port: routes, tokens, allowance, faults, and a log that is judged.

The same address also answers inside a network namespace, where an emulator's servers are.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.emulators.document import Document
from tests.emulators.faults import Faults

CLONE_NEWNET: Final = 0x40000000
"""Of sched.h, for setns(2)."""


class Refusal(Exception):  # noqa: N818  it is an answer
    """An answer of the vendor's that is an error: status, its word for it, and what it says."""

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.details = status, code, message, details


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent. `body` is None when there was none; `names` are the path's parts."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    body: Any
    token: str
    agent: str
    names: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str = "id") -> int:
        """A number in the path."""
        return int(self.names[name])

    def first(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return (self.query.get(name) or [default])[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets; `body` None is an empty one."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A line of the log. `status` is 0 where the client got no answer; `wrong_request` and
    `wrong_answer` are what the vendor's document says against them."""

    agent: str
    method: str
    path: str
    status: int
    wrong_request: tuple[str, ...]
    wrong_answer: tuple[str, ...]
    body: Any = None


@dataclass(slots=True)
class Allowance:
    """Requests that are left; `per_second` come back, up to `most`."""

    most: int
    per_second: float
    clock: Callable[[], float] = time.monotonic
    left: float = -1.0
    seen: float = 0.0

    def take(self) -> bool:
        """Whether there was one left."""
        now = self.clock()
        if self.left < 0:
            self.left, self.seen = float(self.most), now
        self.left = min(self.most, self.left + (now - self.seen) * self.per_second)
        self.seen = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


Handler = Callable[[Request], Answer]


class Api(ABC):
    """Base of an emulator: routes are added by `route`, the vendor's own words by overriding.

    `prefix` stands before every path of the document, as in the vendor's address. Handlers run one
    at a time, under `lock`.
    """

    prefix = ""
    read_only = "forbidden"
    """The vendor's word for a token that may not write."""

    def __init__(self, document: Document, *, allowance: Allowance | None = None) -> None:
        self.document = document
        self.faults = Faults()
        self.tokens: dict[str, str] = {"token": "write"}
        self.allowance = allowance
        self.log: list[Exchange] = []
        self.lock = threading.RLock()
        self.port = 0
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        self._servers: list[ThreadingHTTPServer] = []

    @property
    def url(self) -> str:
        """The address that clients are given in the place of the vendor's."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def route(self, method: str, template: str, handler: Handler) -> None:
        """Answer these requests; `{name}` in the template takes one part of the path."""
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template)
        self._routes.append((method, re.compile(pattern), handler))

    @abstractmethod
    def failing(self, code: str) -> None:
        """From now on what is begun fails with this code; "": no more. For `fail` faults."""

    @abstractmethod
    def error(self, status: int, code: str, message: str, details: Any = None) -> Answer:
        """The vendor's way to say no."""

    def headers(self) -> Mapping[str, str]:
        """Headers of every answer."""
        return {}

    def agents(self) -> dict[str, Counter[str]]:
        """For each client: requests, and the violations that are its own (`wrong`)."""
        found: dict[str, Counter[str]] = {}
        for one in self.log:
            count = found.setdefault(one.agent, Counter())
            count["requests"] += 1
            count["wrong"] += bool(one.wrong_request)
        return found

    def wrong(self, agent: str = "") -> list[str]:
        """What the document says against the requests of clients whose name contains `agent`."""
        return [said for one in self.log if agent in one.agent for said in one.wrong_request]

    def wrong_answers(self) -> list[str]:
        """What the document says against our own answers."""
        return [said for one in self.log for said in one.wrong_answer]

    def respond(self, request: Request) -> Answer | None:
        """The answer, or None where the connection is to end without one. Everything is logged."""
        said = self._against(request)
        fault = self.faults.meet(request.method, request.path)
        if fault is not None and fault.kind == "down":
            answer, shown = None, None
        else:
            if fault is not None and fault.kind == "refuse":
                answer = self.error(fault.status, fault.code, f"injected: {fault.code}")
            else:
                answer = self._handled(
                    request, fault.code if fault and fault.kind == "fail" else ""
                )
            shown = None if fault is not None and fault.kind == "lose" else answer
            if fault is not None and fault.kind == "late":
                time.sleep(fault.seconds)
        wrong = (
            self.document.answer(request.method, request.path, answer.status, answer.body)
            if answer
            else []
        )
        self.log.append(
            Exchange(
                request.agent,
                request.method,
                request.path,
                shown.status if shown else 0,
                tuple(said),
                tuple(wrong),
                request.body,
            )
        )
        return shown

    def _against(self, request: Request) -> list[str]:
        return self.document.request(request.method, request.path, request.query, request.body)

    def _handled(self, request: Request, failing: str) -> Answer:
        try:
            self._admit(request)
            for method, pattern, handler in self._routes:
                if method == request.method and (match := pattern.fullmatch(request.path)):
                    known = replace(request, names=match.groupdict())
                    with self.lock:
                        self.failing(failing)
                        try:
                            return handler(known)
                        finally:
                            self.failing("")
            return self.error(404, "not_found", "no such path")
        except Refusal as no:
            return self.error(no.status, no.code, no.message, no.details)

    def _admit(self, request: Request) -> None:
        if request.token not in self.tokens:
            raise Refusal(401, "unauthorized", "unable to authenticate")
        if self.tokens[request.token] != "write" and request.method != "GET":
            raise Refusal(403, self.read_only, "insufficient permissions for this request")
        if self.allowance is not None and not self.allowance.take():
            raise Refusal(429, "rate_limit_exceeded", "limit of requests reached")

    @contextmanager
    def serving(self, namespace: Path | None = None) -> Iterator[str]:
        """Serve on this host's loopback, and on that of a namespace (its file); the address."""
        first = _listen(None, 0)
        self.port = first.getsockname()[1]
        listening = [first, *([_listen(namespace, self.port)] if namespace else [])]
        threads = []
        for sock in listening:
            server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self), False)
            server.daemon_threads = True
            server.socket.close()
            server.socket = sock
            self._servers.append(server)
            threads.append(threading.Thread(target=server.serve_forever, args=(0.05,)))
            threads[-1].start()
        try:
            yield self.url
        finally:
            for server in self._servers:
                server.shutdown()
                server.server_close()
            for thread in threads:
                thread.join()
            self._servers.clear()


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Speaker(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _speak(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            split = urlsplit(self.path)
            if not split.path.startswith(api.prefix):
                self._send(api.error(404, "not_found", "no such path"))
                return
            try:
                body = json.loads(raw) if raw.strip() else None
            except ValueError:
                self._send(api.error(400, "json_error", "the body is no JSON"))
                return
            answer = api.respond(
                Request(
                    self.command,
                    split.path.removeprefix(api.prefix),
                    parse_qs(split.query, keep_blank_values=True),
                    body,
                    self.headers.get("Authorization", "").removeprefix("Bearer "),
                    self.headers.get("User-Agent", ""),
                )
            )
            if answer is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(answer)

        def _send(self, answer: Answer) -> None:
            data = b"" if answer.body is None else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {**api.headers(), **answer.headers}.items():
                self.send_header(name, value)
            if data:
                self.send_header("Content-Type", "application/json")
            if answer.status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _speak  # noqa: N815  http.server's names

        def log_message(self, format: str, *args: Any) -> None:
            """`Api.log` has it."""

    return Speaker


def _listen(namespace: Path | None, port: int) -> socket.socket:
    """A listening socket, made inside the namespace when one is named; it stays there."""
    made: list[socket.socket] = []

    def make() -> None:
        if namespace is not None:
            enter(namespace)
        made.append(socket.create_server(("127.0.0.1", port), backlog=64))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise OSError(f"cannot listen in {namespace}")
    return made[0]


def enter(namespace: Path) -> None:
    """Move this thread, and the processes that it starts from now on, into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with namespace.open("rb") as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns: {os.strerror(ctypes.get_errno())}")


@contextmanager
def entered(namespace: Path) -> Iterator[None]:
    """This thread is where an emulator's users are; back again in the end."""
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        enter(namespace)
        try:
            yield
        finally:
            enter(Path(f"/proc/self/fd/{before.fileno()}"))

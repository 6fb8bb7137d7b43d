"""Who is told: an HTTP receiver and an SMTP server on loopback ports."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message
from typing import Any


@dataclass
class Inbox:
    """What arrived, oldest first. `answer` is the HTTP status that senders get."""

    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)
    mails: list[Message] = field(default_factory=list)
    answer: int = 200

    def titles(self) -> list[str]:
        """The first line of each message that came by HTTP."""
        return [message["title"] for message in self.got]


@contextmanager
def http_receiver() -> Iterator[Inbox]:
    """Takes what Apprise's `json://` sends."""
    inbox = Inbox()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if inbox.answer == 200:
                inbox.got.append(json.loads(body))
            self.send_response(inbox.answer)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Tests say what matters."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        inbox.port = server.server_port
        yield from _serving(server, inbox)


@contextmanager
def smtp_server() -> Iterator[Inbox]:
    """Takes mail as RFC 5321 has it, without TLS and without a password."""
    inbox = Inbox()

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 test")
            while line := self.rfile.readline():
                verb = line.split()[0].upper() if line.split() else b""
                if verb == b"DATA":
                    self.say("354 go on")
                    inbox.mails.append(message_from_bytes(self.data()))
                elif verb == b"QUIT":
                    self.say("221 bye")
                    return
                self.say("250 fine")

        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def data(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line.removeprefix(b"."))
            return b"".join(lines)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("127.0.0.1", 0), Session) as server:
        inbox.port = server.server_address[1]
        yield from _serving(server, inbox)


def subject(mail: Message) -> str:
    """A mail's subject as its reader sees it."""
    return str(make_header(decode_header(str(mail["Subject"]))))


def text(mail: Message) -> str:
    """All text in a mail."""
    parts = [part for part in mail.walk() if part.get_content_maintype() == "text"]
    payloads = [part.get_payload(decode=True) for part in parts]
    return "\n".join(found.decode() for found in payloads if isinstance(found, bytes))


def _serving(server: socketserver.BaseServer, inbox: Inbox) -> Iterator[Inbox]:
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield inbox
    finally:
        server.shutdown()

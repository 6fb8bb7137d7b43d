"""A door for a browser: a loopback port of this machine that leads to a floating IP."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Final

from images.home import Home
from images.isolation import enter_network
from images.providers import local_floating
from images.providers.local import Local
from specs.errors import BakehouseError
from specs.model import Spec

HTTP: Final = 80
CHUNK: Final = 1 << 16


class Relay(ThreadingTCPServer):
    """Listens on 127.0.0.1 and hands each connection on to `target`, an address and a port.

    `port` 0 is any. Raises BakehouseError when the port is taken.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, target: tuple[str, int]) -> None:
        self.target = target
        try:
            super().__init__(("127.0.0.1", port), _Connection)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise BakehouseError(f"port {port} is taken", "choose another: --port N") from error

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])

    def serve_into(self, namespace: str) -> None:
        """Serve until `shutdown`, connecting from the network namespace; needs a thread of its own.

        A socket belongs to the network in which it was made (network_namespaces(7)): the one that
        listens stays here, while this thread and those that it starts go there.
        """
        enter_network(namespace)
        self.serve_forever()


class _Connection(BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, Relay)
        here: socket.socket = self.request
        with suppress(OSError), socket.create_connection(self.server.target, 10) as there:
            there.settimeout(None)
            back = threading.Thread(target=_pump, args=(there, here), daemon=True)
            back.start()
            _pump(here, there)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, then tell the target so; the other direction goes on."""
    with suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def open_door(home: Home, spec: Spec, port: int) -> Iterator[Relay]:
    """A running relay to the spec's floating IP at the local provider. Needs root.

    Raises BakehouseError when no server holds the IP, or the port is taken.
    """
    cloud, name = Local(home).cloud, spec.deploy.floating_ip or spec.name
    if not local_floating.holder(cloud, name):
        raise BakehouseError(
            f"the floating IP of {spec.name} points at no server", "run `invoke promote --first`"
        )
    ip = local_floating.find(cloud, name)
    with Relay(port, (ip.v4, HTTP)) as relay:
        thread = threading.Thread(
            target=relay.serve_into, args=(cloud.name,), name="door", daemon=True
        )
        thread.start()
        try:
            yield relay
        finally:
            if thread.is_alive():
                relay.shutdown()

#!/usr/bin/python3
"""Starts an app's container again when it ended, for as long as the app's unit is active.

Docker itself starts no container (`restart: "no"`): dockerd would start a worker again by itself
after a crash or a reboot, yet whether this server may run it is decided by the unit and its gate.
And Docker leaves a container alone that was ended with `docker kill`.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

SOCKET = "/run/docker.sock"
LABEL = "bakehouse.app"
LONGEST_DELAY = 60.0
SETTLED = 10.0
"""Seconds that a container must run for its next restart to be immediate; as in Docker's policy."""
LOOK = 30.0
"""Seconds between looks when no event comes."""


class DockerConnection(http.client.HTTPConnection):
    """HTTP over Docker's socket; `patience` in seconds."""

    def __init__(self, patience: float) -> None:
        super().__init__("localhost")
        self.patience = patience

    def connect(self) -> None:
        """Connect to the socket in place of a host."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.patience)
        self.sock.connect(SOCKET)


def docker(method: str, path: str) -> Any:
    """One request to Docker's API; the answer as data, or None when it has no body.

    Raises OSError with Docker's words when it refuses.
    """
    connection = DockerConnection(60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status >= 400:
            raise OSError(f"{method} {path}: {answer.status} {body.decode(errors='replace')}")
        return json.loads(body) if body else None
    finally:
        connection.close()


def endings(patience: float) -> Iterator[None]:
    """Yields at once, then for each container of ours that ends; is over after `patience` quiet."""
    connection = DockerConnection(patience)
    try:
        filters = {"label": [LABEL], "event": ["die"]}
        connection.request("GET", f"/events?filters={quote(json.dumps(filters))}")
        stream = connection.getresponse()
        yield
        while stream.readline():
            yield
    except TimeoutError:
        return
    finally:
        connection.close()


def ended() -> list[dict[str, Any]]:
    """Our containers that do not run although their app's unit is active."""
    filters = {"label": [LABEL], "status": ["exited", "dead"]}
    found = docker("GET", f"/containers/json?all=1&filters={quote(json.dumps(filters))}")
    return [item for item in found if unit_active(item["Labels"][LABEL])]


def unit_active(name: str) -> bool:
    """Whether the app is meant to run: not while its unit starts or stops."""
    command = ["systemctl", "is-active", "--quiet", f"bakehouse-app@{name}.service"]
    return subprocess.run(command, check=False).returncode == 0


class Restarts:
    """When each container was last started again, and how long to wait before the next time."""

    def __init__(self) -> None:
        self.last: dict[str, float] = {}
        self.delay: dict[str, float] = {}

    def due(self, container: str, now: float) -> bool:
        """Whether to start it now: at once after a quiet time, else after a delay that doubles."""
        since = now - self.last.get(container, float("-inf"))
        delay = self.delay.get(container, 0.0)
        if since < delay:
            return False
        self.delay[container] = 1.0 if since >= delay + SETTLED else min(2 * delay, LONGEST_DELAY)
        self.last[container] = now
        return True

    def waiting(self, now: float) -> bool:
        """Whether a delay is running, or was until just now, so that a look is due soon."""
        return any(now < last + self.delay[name] + 2 for name, last in self.last.items())


def look(restarts: Restarts) -> None:
    """Start what ended and is due."""
    for item in ended():
        name = item["Names"][0].removeprefix("/")
        if restarts.due(name, time.monotonic()):
            if links := linked(item):
                print(f"<3>{name}: not started, {links[0]} is a link now", file=sys.stderr)
                continue
            print(f"{name}: {item['Status']}; starting it again", flush=True)
            try:
                docker("POST", f"/containers/{item['Id']}/start")
            except OSError as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)


def linked(item: dict[str, Any]) -> list[str]:
    """What the container would be shown that is found through a link: Docker follows it anew at
    each start, and another server may have sent it since the app's unit looked."""
    mounts = item.get("Mounts") or []
    shown = [mount["Source"] for mount in mounts if mount["Type"] == "bind"]
    return [path for path in shown if os.path.realpath(path) != path]


def main() -> None:
    """Watch until stopped; when Docker's socket goes away, systemd starts us anew."""
    restarts = Restarts()
    while True:
        for _ in endings(1 if restarts.waiting(time.monotonic()) else LOOK):
            look(restarts)


if __name__ == "__main__":
    main()

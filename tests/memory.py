"""A provider that lives in memory: small, whole, and as strict as a cloud about what it is asked.

It keeps servers, volumes, notes and floating IPs, and runs nothing; what wants machines takes the
local provider.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from images.garbage import Garbage
from images.providers.base import (
    SPEC,
    BaseImage,
    FloatingIp,
    Note,
    Order,
    Server,
    Stored,
    Volume,
    note_of,
    refuse_to_forget,
    still_held,
)
from images.ssh import Door
from specs.errors import BakehouseError


@dataclass(slots=True)
class MemoryProvider:
    """Every call is atomic."""

    name: str = "memory"
    _servers: dict[str, Server] = field(default_factory=dict)
    _images: dict[str, Stored] = field(default_factory=dict)
    _ips: dict[str, FloatingIp] = field(default_factory=dict)
    _volumes: dict[str, Volume] = field(default_factory=dict)
    _notes: dict[str, dict[str, str]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def guard(self, check: Callable[[], None]) -> None:
        """Nothing is repeated here."""

    def image(
        self, raw: Path, image_id: str, labels: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        spec = {SPEC: image_id.rpartition("-")[0]}
        made = Stored(image_id, image_id, 1, len(self._images), {**spec, **labels})
        self._images.setdefault(image_id, made)
        return image_id

    def images(self, spec: str) -> Sequence[Stored]:
        return [image for image in self._images.values() if image.labels[SPEC] == spec]

    def delete_image(self, image_id: str) -> None:
        self._images.pop(image_id, None)

    def left_overs(self, names: re.Pattern[str]) -> Sequence[Garbage]:
        return [
            Garbage(server.name, 0, partial(self.delete_server, server.id))
            for server in self._servers.values()
            if names.fullmatch(server.name)
        ]

    def base_image(self, release: str, architecture: str, /) -> BaseImage:
        return BaseImage("", "")

    def servers(self, spec: str) -> Sequence[Server]:
        found = [s for s in self._servers.values() if s.labels.get(SPEC) == spec]
        return sorted(found, key=lambda server: server.name)

    def create_server(self, order: Order) -> Server:
        with self._lock:
            for server in self._servers.values():
                if server.name == order.name:
                    return server
            number = len(self._servers) + 1
            made = Server(
                id=f"s{number}",
                name=order.name,
                status="running",
                labels=dict(order.labels),
                address=f"198.51.100.{10 + number}",
                address6=f"2001:db8::{10 + number}",
                private=f"10.0.0.{number}",
            )
            self._servers[made.id] = made
            return made

    def _server(self, server: str) -> Server:
        if server not in self._servers:
            raise BakehouseError(f"no server {server}", "list them")
        return self._servers[server]

    def set_labels(self, server: str, labels: Mapping[str, str]) -> None:
        self._servers[server] = replace(self._server(server), labels=dict(labels))

    def power_off(self, server: str) -> None:
        self._servers[server] = replace(self._server(server), status="off")

    def power_on(self, server: str) -> None:
        self._servers[server] = replace(self._server(server), status="running")

    def delete_server(self, server: str) -> None:
        self._servers.pop(server, None)
        for name, ip in self._ips.items():
            if ip.server == server:
                self._ips[name] = replace(ip, server="")
        for name, volume in self._volumes.items():
            if volume.server == server:
                self._volumes[name] = replace(volume, server="")

    def floating_ip(self, name: str) -> FloatingIp:
        return self._ips.get(name, FloatingIp(name, "", "", ""))

    def create_floating_ip(self, name: str) -> FloatingIp:
        return self._ips.setdefault(name, FloatingIp(name, "203.0.113.10", "2001:db8:f::10", ""))

    def assign(self, name: str, server: str) -> None:
        if name not in self._ips:
            raise BakehouseError(f"no floating IP {name}", "make it")
        if server:
            self._server(server)
        self._ips[name] = replace(self._ips[name], server=server)

    def volumes(self, spec: str) -> Sequence[Volume]:
        return [v for v in self._volumes.values() if v.labels.get(SPEC) == spec]

    def create_volume(self, name: str, size: int, labels: Mapping[str, str]) -> Volume:
        return self._volumes.setdefault(name, Volume(name, size, "", dict(labels)))

    def attach(self, volume: str, server: str) -> str:
        with self._lock:
            holder = self._volumes[volume].server
            if holder not in ("", server):
                raise BakehouseError(f"{volume} is attached to {holder}", "detach it first")
            self._volumes[volume] = replace(self._volumes[volume], server=server)
            return f"/dev/{volume}"

    def detach(self, volume: str) -> None:
        self._volumes[volume] = replace(self._volumes[volume], server="")

    def delete_volume(self, volume: str) -> None:
        self._volumes.pop(volume, None)

    def make_note(self, name: str, labels: Mapping[str, str]) -> bool:
        with self._lock:
            if name in self._notes:
                return False
            self._notes[name] = dict(labels)
            return True

    def notes(self, prefix: str) -> Sequence[Note]:
        with self._lock:
            found = {n: dict(labels) for n, labels in self._notes.items() if n.startswith(prefix)}
        return [Note(name, found[name]) for name in sorted(found)]

    def change_note(self, name: str, labels: Mapping[str, str]) -> None:
        with self._lock:
            if name not in self._notes:
                raise BakehouseError(f"no note {name}", "it was deleted")
            self._notes[name] = dict(labels)

    def delete_note(self, name: str) -> None:
        with self._lock:
            self._notes.pop(name, None)

    def forget(self, spec: str) -> None:
        refuse_to_forget(self, spec)
        if (ip := self.floating_ip(spec)).server:
            raise still_held(spec, ip.v4, self._server(ip.server).name, "delete that server")
        self._ips.pop(spec, None)
        for name in [name for name in self._notes if note_of(spec, name)]:
            del self._notes[name]

    def door(self, server: Server, folder: Path, admin: str, port: int) -> Door:
        return Door(folder / "ssh_config")

    def outside(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

"""The local provider: a small cloud on this machine, for development, tests and boxes at home.

Servers are containers of systemd-nspawn that boot a stored image, on disks that survive power cuts;
all of it lies below `<home>/cloud/` and in one network namespace (`local_state`, `local_network`).
A verb that uses it must not run in namespaces of its own (`images.isolation`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from images import ssh
from images.garbage import Garbage
from images.home import Home, write_whole
from images.network import inside
from images.providers import (
    local_floating,
    local_notes,
    local_power,
    local_servers,
    local_volumes,
)
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
)
from images.providers.keys import operator_key
from images.providers.local_state import CONSOLE, cloud_of, record, records
from images.run import require_root
from images.ssh import Door
from specs.errors import BakehouseError

PATIENCE: Final = 120.0
"""Seconds from a first boot's start until the server has a host key."""


class Local:
    """See `images.providers.base.Provider` for what each call promises. Needs root."""

    name = "local"

    def __init__(self, home: Home) -> None:
        require_root("the local provider")
        self.home = home
        self.cloud = cloud_of(home)

    def guard(self, _check: Callable[[], None]) -> None:
        """Nothing to ask: calls here act at once, or fail."""

    def image(self, raw: Path, image_id: str) -> str:
        """The image's id, once the cloud has it."""
        return local_servers.add_image(self.cloud, raw, image_id)

    def images(self, spec: str) -> Sequence[Stored]:
        """All images of this spec that servers can be made of."""
        return local_servers.images(self.cloud, spec)

    def delete_image(self, image_id: str) -> None:
        """Its name in the cloud is gone. Refused while there is a server that boots from it."""
        local_servers.delete_image(self.cloud, image_id)

    def left_overs(self, _names: re.Pattern[str]) -> Sequence[Garbage]:
        """None: images are baked on the machine itself, and proven there."""
        return []

    def base_image(self, _release: str, _architecture: str, /) -> BaseImage:
        """None: images are made of packages."""
        return BaseImage("", "")

    def servers(self, spec: str) -> Sequence[Server]:
        """All servers with this spec's label, by name."""
        found = [one for one in records(self.cloud) if one.labels.get(SPEC) == spec]
        found.sort(key=lambda one: one.name)
        return [local_servers.view(self.cloud, one) for one in found]

    def create_server(self, order: Order) -> Server:
        """A server that is switched on."""
        return local_servers.view(self.cloud, local_servers.create(self.cloud, order))

    def set_labels(self, server: str, labels: Mapping[str, str]) -> None:
        """Replace the server's labels."""
        local_servers.set_labels(self.cloud, server, labels)

    def power_off(self, server: str) -> None:
        """Pull the plug."""
        local_power.cut(self.cloud, record(self.cloud, server).id)

    def power_on(self, server: str) -> None:
        """Boot it, unless it runs."""
        local_servers.power_on(self.cloud, record(self.cloud, server).id)

    def delete_server(self, server: str) -> None:
        """The server and its disk are gone."""
        local_servers.delete(self.cloud, server)

    def floating_ip(self, name: str) -> FloatingIp:
        """The floating IP of this name, if there is one."""
        return local_floating.find(self.cloud, name)

    def create_floating_ip(self, name: str) -> FloatingIp:
        """The floating IP of this name."""
        return local_floating.create(self.cloud, name)

    def assign(self, name: str, server: str) -> None:
        """Point the floating IP at a server."""
        local_floating.assign(self.cloud, name, server)

    def volumes(self, spec: str) -> Sequence[Volume]:
        """All volumes with this spec's label."""
        return local_volumes.volumes(self.cloud, spec)

    def create_volume(self, name: str, size: int, labels: Mapping[str, str]) -> Volume:
        """A volume."""
        return local_volumes.create(self.cloud, name, size, labels)

    def attach(self, volume: str, server: str) -> str:
        """Give it to the one server that may write."""
        return local_volumes.attach(self.cloud, volume, server)

    def detach(self, volume: str) -> None:
        """Take it away from its server, which must not have it mounted."""
        local_volumes.detach(self.cloud, volume)

    def delete_volume(self, volume: str) -> None:
        """The volume and its data are gone."""
        local_volumes.delete(self.cloud, volume)

    def make_note(self, name: str, labels: Mapping[str, str]) -> bool:
        """Make a note atomically."""
        return local_notes.make_note(self.cloud, name, labels)

    def notes(self, prefix: str) -> Sequence[Note]:
        """All notes whose name starts so."""
        return local_notes.notes(self.cloud, prefix)

    def change_note(self, name: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of a note."""
        local_notes.change_note(self.cloud, name, labels)

    def delete_note(self, name: str) -> None:
        """The note is gone."""
        local_notes.delete_note(self.cloud, name)

    def forget(self, spec: str) -> None:
        """The floating IP and the notes of a spec are gone.

        Raises BakehouseError while there are servers or volumes of the spec, or another one's
        server has the IP.
        """
        refuse_to_forget(self, spec)
        local_floating.delete(self.cloud, spec)
        for note in self.notes(spec):
            if note_of(spec, note.name):
                self.delete_note(note.name)

    def door(self, server: Server, folder: Path, admin: str, port: int) -> Door:
        """The operator's way in, as soon as the server has a host key; that is read from its disk.

        Raises BakehouseError, with the console's end, when it goes off or makes none.
        """
        known = ssh.known_host(self._host_key(server))
        key = operator_key(self.home)
        config = folder / "ssh_config"
        write_whole(folder / "known_hosts", known)
        write_whole(config, ssh.config_text(folder, server.address, port, admin, key))
        return Door(config, tuple(self.outside([])))

    def _host_key(self, server: Server) -> str:
        deadline = time.monotonic() + PATIENCE
        while not (public := local_power.host_key(self.cloud, server.id)):
            off = local_power.status(self.cloud, server.id) == "off"
            if off or time.monotonic() > deadline:
                why = "is off" if off else f"has no host key after {PATIENCE:g} s"
                raise BakehouseError(
                    f"the server {server.name} {why}\n{self._tail(server.id)}",
                    f"its whole console: {self.cloud.folder(server.id) / CONSOLE}",
                )
            time.sleep(0.1)
        return public

    def _tail(self, server: str) -> str:
        text = (self.cloud.folder(server) / CONSOLE).read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-30:])

    def outside(self, argv: Sequence[str]) -> list[str]:
        """The command as run on the users' side of the network."""
        return inside(self.cloud.name, argv)

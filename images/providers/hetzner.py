"""The provider for Hetzner's cloud. One project holds what a token may see.

| ours | there |
|---|---|
| server, its labels | server, its labels |
| image | snapshot, labelled with our id |
| floating IP | two of them, `name` (IPv4) and `name-v6` |
| note | placement group without servers |
| private network, firewall | one of each per spec, named as the spec |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from images.garbage import Garbage
from images.home import Home
from images.providers import (
    hetzner_floating,
    hetzner_images,
    hetzner_network,
    hetzner_notes,
    hetzner_places,
    hetzner_servers,
    hetzner_volumes,
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
from images.providers.cloud_door import cloud_door
from images.providers.hetzner_api import Api
from images.providers.offer import offer
from images.ssh import Door
from specs.model import Deploy, Spec

TOKEN: Final = "HCLOUD_TOKEN"  # noqa: S105  its name
"""The environment variable, as in Hetzner's own clients."""


class Hetzner:
    """See `images.providers.base.Provider` for what each call promises.

    `spec` says where servers are made and what their firewall opens.
    """

    name = "hetzner"

    def __init__(self, home: Home, api: Api, spec: Spec | None = None) -> None:
        self.home = home
        self.api = api
        self.spec = spec

    def guard(self, check: Callable[[], None]) -> None:
        """Ask it before each request that changes something."""
        self.api.check = check

    def image(self, _raw: Path, image_id: str) -> str:
        """The snapshot of the image, which `build-image --provider hetzner` made."""
        return hetzner_images.find(self.api, image_id)

    def images(self, spec: str) -> Sequence[Stored]:
        """All snapshots of this spec, the oldest first."""
        return hetzner_images.listed(self.api, spec)

    def delete_image(self, image_id: str) -> None:
        """Its snapshots are gone; servers that were made of it run on."""
        hetzner_images.delete(self.api, image_id)

    def label_image(self, handle: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of a snapshot, by the handle that Hetzner gave it."""
        hetzner_images.label(self.api, handle, labels)

    def base_image(self, release: str, architecture: str, /) -> BaseImage:
        """Hetzner's own image of a Debian release."""
        return hetzner_images.base_image(self.api, release, architecture)

    def packer_environment(self) -> dict[str, str]:
        """What Packer's plugin reads to reach the same project."""
        return {TOKEN: self.api.token, "HCLOUD_ENDPOINT": self.api.endpoint}

    def delete_stored(self, handle: str) -> None:
        """The snapshot of this number is gone."""
        hetzner_images.delete_one(self.api, handle)

    def left_overs(self, names: re.Pattern[str]) -> list[Garbage]:
        """Servers of builds that died."""
        return hetzner_images.left_overs(self.api, names)

    def servers(self, spec: str) -> Sequence[Server]:
        """All servers with this spec's label, by name."""
        return hetzner_servers.listed(self.api, spec)

    def create_server(self, order: Order) -> Server:
        """A server that is switched on, with the spec's firewall, in its private network."""
        return hetzner_servers.create(self.api, order, self.spec)

    def set_labels(self, server: str, labels: Mapping[str, str]) -> None:
        """Replace the server's labels."""
        hetzner_servers.set_labels(self.api, server, labels)

    def power_off(self, server: str) -> None:
        """Pull the plug, and see that it is off."""
        hetzner_servers.power_off(self.api, server)

    def power_on(self, server: str) -> None:
        """Switch it on."""
        hetzner_servers.power_on(self.api, server)

    def delete_server(self, server: str) -> None:
        """The server and its disk are gone."""
        hetzner_servers.delete(self.api, server)

    def floating_ip(self, name: str) -> FloatingIp:
        """The floating IP of this name or address."""
        return hetzner_floating.floating_ip(self.api, name)

    def create_floating_ip(self, name: str) -> FloatingIp:
        """The same, made when there is none."""
        spec = self.spec.name if self.spec else name
        return hetzner_floating.create_floating_ip(self.api, name, spec, self._place())

    def assign(self, name: str, server: str) -> None:
        """Point the floating IP at a server."""
        hetzner_floating.assign(self.api, name, server)

    def forget(self, spec: str) -> None:
        """What was made for a spec beside its servers is gone: floating IPs, network, firewall,
        and last its notes.

        Raises BakehouseError while there are servers or volumes of the spec, or another one's
        server has such an IP.
        """
        refuse_to_forget(self, spec)
        hetzner_floating.refuse_held(self.api, spec)
        hetzner_network.forget(self.api, spec)
        for note in self.notes(spec):
            if note_of(spec, note.name):
                self.delete_note(note.name)

    def volumes(self, spec: str) -> Sequence[Volume]:
        """All volumes with this spec's label."""
        return hetzner_volumes.listed(self.api, spec)

    def create_volume(self, name: str, size: int, labels: Mapping[str, str]) -> Volume:
        """A volume where the spec's servers are, else in the first location."""
        spec = labels.get(SPEC, "")
        place = hetzner_places.of_servers(self.api, spec) if spec else ""
        return hetzner_volumes.create(self.api, name, size, labels, place or self._place())

    def attach(self, volume: str, server: str) -> str:
        """Give it to the one server that may write."""
        return hetzner_volumes.attach(self.api, volume, server)

    def detach(self, volume: str) -> None:
        """Take it away from its server."""
        hetzner_volumes.detach(self.api, volume)

    def delete_volume(self, volume: str) -> None:
        """The volume and its data are gone."""
        hetzner_volumes.delete(self.api, volume)

    def make_note(self, name: str, labels: Mapping[str, str]) -> bool:
        """Make a note atomically."""
        return hetzner_notes.make_note(self.api, name, labels)

    def notes(self, prefix: str) -> Sequence[Note]:
        """All notes whose name starts so."""
        return hetzner_notes.notes(self.api, prefix)

    def change_note(self, name: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of a note."""
        hetzner_notes.change_note(self.api, name, labels)

    def delete_note(self, name: str) -> None:
        """The note is gone."""
        hetzner_notes.delete_note(self.api, name)

    def door(self, server: Server, folder: Path, admin: str, port: int) -> Door:
        """The operator's way in."""
        return cloud_door(self.home, server, folder, admin, port)

    def outside(self, argv: Sequence[str]) -> list[str]:
        """The command as it is: users are where this machine is."""
        return list(argv)

    def _place(self) -> str:
        return offer(self.spec.deploy if self.spec else Deploy()).locations[0]

"""The provider digitalocean: droplets, reserved IPs and volumes, by the vendor's own client."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from images.garbage import Garbage
from images.home import Home
from images.providers import digitalocean_firewall as firewall
from images.providers import digitalocean_floating as floating
from images.providers import digitalocean_images as stored
from images.providers import digitalocean_notes as kept
from images.providers import digitalocean_servers as droplets
from images.providers import digitalocean_tags as tags
from images.providers import digitalocean_volumes as disks
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
from images.providers.digitalocean_api import Api
from images.providers.digitalocean_notes import NOTE
from images.providers.keys import operator_key
from images.providers.local_state import checked, word
from images.providers.offer import offer
from images.ssh import Door
from specs.errors import BakehouseError
from specs.model import Deploy, Spec

TOKEN: Final = "DIGITALOCEAN_TOKEN"  # noqa: S105  the name of a variable
"""The environment's variable; the spec's secrets file calls it `digitalocean-token`."""


class DigitalOcean:
    """See `images.providers.base.Provider` for what each call promises.

    `spec` says where servers are made and what their firewall opens.
    """

    name = "digitalocean"

    def __init__(self, home: Home, api: Api, spec: Spec | None = None) -> None:
        self.home = home
        self.api = api
        self.spec = spec
        self.deploy = spec.deploy if spec else Deploy()
        self._region = ""

    def guard(self, check: Callable[[], None]) -> None:
        """Ask it before each request that changes something."""
        self.api.check = check

    def image(self, _raw: Path, image_id: str) -> str:
        """The number of the image with this id of ours, fetched by its URL when it is not there."""
        return stored.ready(self.api, image_id, self.deploy.image_url, self._regions("")[0])

    def images(self, spec: str) -> Sequence[Stored]:
        """All images of this spec, the oldest first."""
        return stored.listed(self.api, spec)

    def delete_image(self, image_id: str) -> None:
        """The image of this id of ours is gone."""
        stored.delete_all(self.api, image_id)

    def label_image(self, handle: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of an image, by the vendor's number of it."""
        stored.set_labels(self.api, handle, labels)

    def packer_environment(self) -> dict[str, str]:
        """What Packer's plugin reads to reach the same account."""
        return {TOKEN: self.api.token, "DIGITALOCEAN_API_URL": self.api.endpoint}

    def delete_stored(self, handle: str) -> None:
        """The image of this number is gone."""
        stored.delete(self.api, handle)

    def left_overs(self, names: re.Pattern[str]) -> list[Garbage]:
        """Droplets, and snapshots without labels, that builds which died have left."""
        return [*droplets.left_overs(self.api, names), *stored.left_overs(self.api, names)]

    def base_image(self, release: str, architecture: str, /) -> BaseImage:
        """The vendor's image of a Debian release."""
        return stored.base(self.api, release, architecture)

    def servers(self, spec: str) -> Sequence[Server]:
        """All servers with this spec's label, by name."""
        return droplets.listed(self.api, spec)

    def create_server(self, order: Order) -> Server:
        """A server that is switched on. Its disk is as large as its size has it."""
        sizes = offer(self.deploy).types
        if self.spec and order.labels.get(SPEC) == self.spec.name:
            droplets.make_tag(self.api, tags.spec_tag(self.spec.name))
            firewall.ensure(self.api, self.spec)
        regions = self._regions(order.labels.get(SPEC, ""))
        wanted = droplets.Offer(regions, sizes)
        return droplets.create(self.api, order, wanted, operator_key(self.home).public)

    def set_labels(self, server: str, labels: Mapping[str, str]) -> None:
        """Replace the server's labels."""
        droplets.set_labels(self.api, server, labels)

    def power_off(self, server: str) -> None:
        """Pull the plug."""
        droplets.power_off(self.api, server)

    def power_on(self, server: str) -> None:
        """Switch it on, unless it runs."""
        droplets.power_on(self.api, server)

    def delete_server(self, server: str) -> None:
        """The server and its disk are gone."""
        droplets.delete(self.api, server)

    def floating_ip(self, name: str) -> FloatingIp:
        """The reserved IP of this name; without addresses when there is none."""
        self._region = floating.region(self.api, name) or self._region
        return floating.find(self.api, name)

    def create_floating_ip(self, name: str) -> FloatingIp:
        """The reserved IP of this name, made when there is none."""
        made = floating.create(self.api, name, self._offering)
        self._region = floating.region(self.api, name)
        return made

    def assign(self, name: str, server: str) -> None:
        """Point the reserved IP at a server."""
        floating.assign(self.api, name, server)

    def forget(self, spec: str) -> None:
        """What was made for a spec beside its servers is gone: its floating IP, firewall, tag,
        and last its notes.

        Raises BakehouseError while there are servers or volumes of the spec, or another one's
        server has the IP.
        """
        refuse_to_forget(self, spec)
        floating.delete(self.api, self.deploy.floating_ip or spec)
        firewall.delete(self.api, spec)
        droplets.drop_tag(self.api, tags.spec_tag(spec))
        for note in self.notes(spec):
            if note_of(spec, note.name):
                self.delete_note(note.name)

    def volumes(self, spec: str) -> Sequence[Volume]:
        """All volumes with this spec's label."""
        return disks.listed(self.api, spec)

    def create_volume(self, name: str, size: int, labels: Mapping[str, str]) -> Volume:
        """A volume; the vendor has whole GiB of them."""
        region = self._regions(labels.get(SPEC, ""))[0]
        return disks.create(self.api, name, size, labels, region)

    def attach(self, volume: str, server: str) -> str:
        """Give it to the one server that may write."""
        return disks.attach(self.api, volume, server)

    def detach(self, volume: str) -> None:
        """Take it away from its server."""
        disks.detach(self.api, volume)

    def delete_volume(self, volume: str) -> None:
        """The volume and its data are gone."""
        disks.delete(self.api, volume)

    def make_note(self, name: str, labels: Mapping[str, str]) -> bool:
        """Make a note atomically."""
        return kept.make(self.api, NOTE, word(name, "a note's name"), checked(labels))

    def notes(self, prefix: str) -> Sequence[Note]:
        """All notes whose name starts so."""
        return kept.starting(self.api, NOTE, prefix)

    def change_note(self, name: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of a note."""
        kept.change(self.api, NOTE, name, labels)

    def delete_note(self, name: str) -> None:
        """The note is gone."""
        kept.delete(self.api, NOTE, name)

    def door(self, server: Server, folder: Path, admin: str, port: int) -> Door:
        """The operator's way in."""
        return cloud_door(self.home, server, folder, admin, port)

    def outside(self, argv: Sequence[str]) -> list[str]:
        """The command as it is: this machine is a user's, too."""
        return list(argv)

    def _regions(self, spec: str) -> Sequence[str]:
        """Where a new thing may be: beside the reserved IP, else beside the spec's servers, else
        where the spec says."""
        if self._region:
            return (self._region,)
        if spec and (there := droplets.regions(self.api, spec)):
            return there
        return offer(self.deploy).locations

    def _offering(self) -> str:
        """The first region of the spec's that has one of its sizes now: the address stays there."""
        sizes = self.api.pages(self.api.client.sizes.list, "sizes")
        offered = {one["slug"]: one["regions"] for one in sizes if one["available"]}
        for region in self._regions(""):
            if any(region in offered.get(size, ()) for size in self.deploy.server_types):
                return region
        raise BakehouseError(
            f"DigitalOcean has none of {', '.join(self.deploy.server_types)} in "
            f"{', '.join(self.deploy.locations)} now",
            "add sizes to deploy.server_types, or regions to deploy.locations",
        )

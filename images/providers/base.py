"""What a provider can do for us. Its own objects stop at its adapter; ids and roles live there.

Labels are the truth about servers, so any machine that may ask the provider can promote, resume
or roll back. A label's key and value are short words (63 characters of `a-z A-Z 0-9 . _ -`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from images.garbage import Garbage
from images.ssh import Door
from specs.errors import BakehouseError

Status = Literal["starting", "running", "off"]

SPEC: Final = "spec"
GENERATION: Final = "generation"
IMAGE: Final = "image"
ROLE: Final = "role"
EPOCH: Final = "epoch"
"""Labels of a server: the spec's name, its generation, its image's id, `active`, `standby` or
`given-up`, and the epoch in which it got that role."""

PROVEN: Final = "proven"
"""A label of an image that was made at its provider: the day on which its suite passed there. One
without is being proven, or was left by a run that died."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server as its provider knows it now. `address` is IPv4; `private` reaches its peers."""

    id: str
    name: str
    status: Status
    labels: Mapping[str, str]
    address: str
    address6: str
    private: str
    volumes: tuple[str, ...] = ()


def refuse_to_forget(provider: Provider, spec: str) -> None:
    """Raises BakehouseError while a provider has servers or volumes of a spec."""
    found: list[Server | Volume] = [*provider.servers(spec), *provider.volumes(spec)]
    if found:
        names = ", ".join(one.name for one in found)
        raise BakehouseError(f"{spec} still has {names}", "delete them first")


def still_held(name: str, address: str, server: str, hint: str) -> BakehouseError:
    """Why a floating IP is not deleted: a server has it, which is another spec's, since all of its
    own are gone by then. `hint` is the vendor's way to part the two."""
    return BakehouseError(
        f"the floating IP {name} ({address}) is at the server {server}, whose users it would cut "
        "off: it is not deleted",
        f"{hint}; then run the same again",
    )


def note_of(spec: str, name: str) -> bool:
    """Whether a note of this name is a spec's: its lease, or what is called `<spec>.…`, which is no
    other spec's, since a spec's name has no dot."""
    return re.fullmatch(rf"{re.escape(spec)}(-lease-\d+|\..+)", name) is not None


@dataclass(frozen=True, slots=True)
class Order:
    """A server to be made. `image` is what `Provider.image` returned; `disk` is bytes.

    `user_data` is its `boot.yaml`. A second order of the same name finds the server that the first
    one made, so an answer that was lost makes no second server.
    """

    name: str
    image: str
    user_data: str
    labels: Mapping[str, str]
    disk: int = 8 << 30


@dataclass(frozen=True, slots=True)
class FloatingIp:
    """An address pair that moves: "" where the provider has none of that family."""

    name: str
    v4: str
    v6: str
    server: str
    """Id of the server that holds it, or ""."""
    translated: bool = False
    """Whether IPv4 packets to it arrive at another address, which differs from server to server."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A block volume; `server` is the id of the one server that has it, or "". `size` is bytes."""

    name: str
    size: int
    server: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Note:
    """An object at the provider whose name is unique there, made atomically: leases are these."""

    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stored:
    """One of our images at the provider. `id` is ours, `handle` the provider's (`Order.image`).

    `size` is bytes that are paid for, 0 where that is unknown; `created` is in Unix seconds, or 0.
    """

    id: str
    handle: str
    size: int
    created: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BaseImage:
    """The vendor's own image of a release, which a provisioned image begins as; "" where images
    are made of packages alone."""

    id: str
    name: str


def unguarded() -> None:
    """Whoever asks may change things."""


class Provider(Protocol):
    """Every call waits until the provider confirms. All raise BakehouseError with a next step."""

    name: str

    def guard(self, check: Callable[[], None]) -> None:
        """Call `check` before each request that changes something, so also before one that is
        repeated minutes after its call began; what it raises ends that call. It may read here."""

    def image(self, raw: Path, image_id: str) -> str:
        """Make a stored image available for orders (found again when it already is)."""

    def images(self, spec: str) -> Sequence[Stored]:
        """All images of this spec, the oldest first."""

    def delete_image(self, image_id: str) -> None:
        """The image of this id of ours is gone. Gone before: fine. Refused where servers boot
        from it."""

    def left_overs(self, names: re.Pattern[str]) -> Sequence[Garbage]:
        """What runs that died have left under such names: servers without labels, and images that
        got none. Only for who holds the lease of those runs."""

    def base_image(self, release: str, architecture: str, /) -> BaseImage:
        """The vendor's newest image of a Debian release (`trixie`, `amd64`)."""

    def servers(self, spec: str) -> Sequence[Server]:
        """All servers with this spec's label, by name."""

    def create_server(self, order: Order) -> Server:
        """A server that is switched on; SSH may still take a while."""

    def set_labels(self, server: str, labels: Mapping[str, str]) -> None:
        """Replace the server's labels."""

    def power_off(self, server: str) -> None:
        """As if the plug were pulled; off for certain when this returns, also if it was before."""

    def power_on(self, server: str) -> None:
        """Switch it on; nothing happens to one that runs."""

    def delete_server(self, server: str) -> None:
        """The server and its disk are gone; volumes and floating IPs stay. Gone before: fine."""

    def floating_ip(self, name: str) -> FloatingIp:
        """The floating IP of this name; nothing is made: one that is not there has no address."""

    def create_floating_ip(self, name: str) -> FloatingIp:
        """The floating IP of this name, made when there is none and the provider may make it."""

    def assign(self, name: str, server: str) -> None:
        """Point the floating IP at a server ("": at none), in one atomic step."""

    def volumes(self, spec: str) -> Sequence[Volume]:
        """All volumes with this spec's label."""

    def create_volume(self, name: str, size: int, labels: Mapping[str, str]) -> Volume:
        """A volume with an empty ext4 file system, unless one of this name exists."""

    def attach(self, volume: str, server: str) -> str:
        """Give it to the one server that may write; the device's path there. Refused when taken."""

    def detach(self, volume: str) -> None:
        """Take it away from its server, also from one that is off."""

    def delete_volume(self, volume: str) -> None:
        """The volume and its data are gone."""

    def make_note(self, name: str, labels: Mapping[str, str]) -> bool:
        """Make a note atomically; False when one of this name exists."""

    def notes(self, prefix: str) -> Sequence[Note]:
        """All notes whose name starts so, by name."""

    def change_note(self, name: str, labels: Mapping[str, str]) -> None:
        """Replace the labels of a note. Raises BakehouseError when it is gone."""

    def delete_note(self, name: str) -> None:
        """The note is gone."""

    def forget(self, spec: str) -> None:
        """What was made for a spec beside its servers, volumes and images is gone: its floating IP,
        unless a person made it, its network and firewall, and last its notes.

        Raises BakehouseError while there are servers or volumes of the spec, or its floating IP is
        at a server, which is another spec's then.
        """

    def door(self, server: Server, folder: Path, admin: str, port: int) -> Door:
        """The way in by SSH; its files (configuration, known hosts) are kept in `folder`."""

    def outside(self, argv: Sequence[str]) -> list[str]:
        """The command as run where users are: the local provider's client side, or as it is."""

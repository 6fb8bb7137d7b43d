"""Volumes at Hetzner. They are made in one location, and given to servers in it only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from hcloud.locations import Location

from images.providers import hetzner_servers
from images.providers.base import SPEC, Volume
from images.providers.hetzner_api import Api
from images.providers.local_state import checked, word
from specs.errors import BakehouseError

LEAST: Final = 10
"""GB that a volume has at least (Hetzner's API reference, "Create a volume")."""


def listed(api: Api, spec: str) -> Sequence[Volume]:
    """All volumes with this spec's label, by name."""
    look = f"list the volumes of {spec}"
    found = api.ask(look, lambda: api.client.volumes.get_all(label_selector=f"{SPEC}=={spec}"))
    return sorted((_view(one) for one in found), key=lambda volume: volume.name)


def _view(found: Any) -> Volume:
    holder = str(found.server.id) if found.server else ""
    return Volume(found.name, int(found.size) << 30, holder, dict(found.labels))


def create(api: Api, name: str, size: int, labels: Mapping[str, str], place: str) -> Volume:
    """The volume of this name, made when there is none; `size` is rounded up to whole GB."""
    word(name, "a volume's name")
    wanted, what = checked(labels), f"make the volume {name}"

    def attempt() -> Any:
        found = api.client.volumes.get_by_name(name)
        if found is None:
            made = api.client.volumes.create(
                size=max(LEAST, -(-size // (1 << 30))),
                name=name,
                labels=wanted,
                location=Location(name=place),
                format="ext4",
            )
            api.await_all(what, [made.action, *made.next_actions])
            found = made.volume
        return found

    found = api.repeat(what, attempt)
    api.until(what, lambda: _known(api, name).status == "available")
    return _view(found)


def attach(api: Api, name: str, server: str) -> str:
    """Give it to a server; the device there. Raises BakehouseError when another one has it."""
    what = f"attach the volume {name}"

    def attempt() -> str:
        found, target = _known(api, name), hetzner_servers.known(api, server)
        if found.server is not None and found.server.id != target.id:
            raise BakehouseError(
                f"the volume {name} belongs to the server {found.server.id}",
                "detach it there first",
            )
        if found.server is None:
            api.await_all(what, [found.attach(target, automount=False)])
        return str(found.linux_device)

    return api.repeat(what, attempt)


def detach(api: Api, name: str) -> None:
    """Take it away from its server; nothing happens when it has none."""
    what = f"detach the volume {name}"

    def attempt() -> None:
        found = _known(api, name)
        if found.server is not None:
            api.await_all(what, [found.detach()])

    api.repeat(what, attempt)


def delete(api: Api, name: str) -> None:
    """The volume and its data are gone. Nothing happens when it was gone before."""
    what = f"delete the volume {name}"

    def attempt() -> None:
        found = api.client.volumes.get_by_name(name)
        if found is not None:
            if found.server is not None:
                api.await_all(what, [found.detach()])
            found.delete()

    api.repeat(what, attempt)


def _known(api: Api, name: str) -> Any:
    found = api.client.volumes.get_by_name(word(name, "a volume's name"))
    if found is None:
        raise BakehouseError(f"there is no volume {name} at Hetzner", "create it first")
    return found

"""Volumes of DigitalOcean: their names are unique in a region."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from images.providers import digitalocean_tags as tags
from images.providers.base import SPEC, Volume
from images.providers.digitalocean_api import Api, MissingError
from images.providers.local_state import checked
from specs.errors import BakehouseError, UsageError

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")
GIB: Final = 1 << 30


def listed(api: Api, spec: str) -> list[Volume]:
    """All volumes with this spec's label, by name."""
    found = [_view(one) for one in _all(api)]
    return sorted((one for one in found if one.labels.get(SPEC) == spec), key=lambda one: one.name)


def names(api: Api, ids: Sequence[str]) -> tuple[str, ...]:
    """The names of a droplet's volumes."""
    if not ids:
        return ()
    return tuple(sorted(one["name"] for one in _all(api) if one["id"] in ids))


def create(api: Api, name: str, size: int, labels: Mapping[str, str], region: str) -> Volume:
    """The volume of this name, made with a file system when there is none."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"a volume cannot be called {name!r} at DigitalOcean",
            "use 1 to 64 of a-z 0-9 -, a letter first",
        )
    found = _find(api, name)
    if found is None:
        body = {
            "name": name,
            "size_gigabytes": max(1, -(-size // GIB)),
            "region": region,
            "filesystem_type": "ext4",
            "tags": tags.tags(checked(labels)),
        }
        made = api.make(api.client.volumes.create, body=body, find=lambda: _find(api, name))
        found = made.get("volume", made)
    return _view(found)


def attach(api: Api, name: str, server: str) -> str:
    """Give it to a droplet; the device's path there. Raises BakehouseError when taken."""
    holder = _view(_known(api, name)).server
    if holder not in ("", server):
        raise BakehouseError(
            f"the volume {name} belongs to the server {holder}", "detach it there first"
        )
    _move(api, name, server, "attach", server)
    return f"/dev/disk/by-id/scsi-0DO_Volume_{name}"


def detach(api: Api, name: str) -> None:
    """Take it away from its droplet; nothing happens when it has none."""
    holder = _view(_known(api, name)).server
    if holder:
        _move(api, name, "", "detach", holder)


def delete(api: Api, name: str) -> None:
    """The volume and its data are gone, with the tags that were its own."""
    found = _find(api, name)
    if found is None:
        return
    detach(api, name)
    with suppress(MissingError):
        api.ask(api.client.volumes.delete, found["id"])
    for tag in tags.own(found.get("tags") or ()):
        with suppress(MissingError):
            api.ask(api.client.tags.delete, tag)


def _move(api: Api, name: str, wanted: str, verb: str, droplet: str) -> None:
    found = _known(api, name)
    body = {"type": verb, "droplet_id": int(droplet), "region": found["region"]["slug"]}
    api.until(
        lambda: _view(_known(api, name)).server == wanted,
        lambda: api.once(api.client.volume_actions.post_by_id, found["id"], body=body),
    )


def _view(found: Mapping[str, Any]) -> Volume:
    holders = found.get("droplet_ids") or ()
    return Volume(
        name=found["name"],
        size=int(found["size_gigabytes"]) * GIB,
        server=str(holders[0]) if holders else "",
        labels=tags.labels(found.get("tags") or ()),
    )


def _all(api: Api) -> list[Mapping[str, Any]]:
    return api.pages(api.client.volumes.list, "volumes")


def _find(api: Api, name: str) -> Mapping[str, Any] | None:
    found = api.pages(api.client.volumes.list, "volumes", name=name)
    return next((one for one in found if one["name"] == name), None)


def _known(api: Api, name: str) -> Mapping[str, Any]:
    found = _find(api, name)
    if found is None:
        raise BakehouseError(f"there is no volume {name}", "create it first")
    return found

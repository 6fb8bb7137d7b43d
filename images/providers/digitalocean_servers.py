"""Droplets: made once, labelled, switched, deleted."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from images.garbage import Garbage
from images.providers import digitalocean_tags as tags
from images.providers import digitalocean_volumes as volumes
from images.providers.base import SPEC, Order, Server, Status
from images.providers.digitalocean_api import (
    Api,
    MissingError,
    RefusedError,
    SilentError,
)
from images.providers.digitalocean_notes import fingerprint
from images.providers.local_state import checked, word
from specs.errors import BakehouseError, UsageError

STATES: Final[Mapping[str, Status]] = {"new": "starting", "active": "running"}
USER_DATA: Final = 64 << 10
"""Bytes that user data may have (the API's reference, "Create a New Droplet")."""

BOOT: Final = 600.0
"""Seconds until a new droplet must be active, or a switched one must be on or off."""

Droplet = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """Where a droplet may be made, and of which size: to be tried in this order."""

    regions: Sequence[str]
    sizes: Sequence[str]


def listed(api: Api, spec: str) -> list[Server]:
    """All servers with this spec's tag, by name."""
    found = [view(api, droplet) for droplet in _tagged(api, spec)]
    return sorted(found, key=lambda server: (server.name, int(server.id)))


def regions(api: Api, spec: str) -> list[str]:
    """Where the spec's servers are."""
    return sorted({droplet["region"]["slug"] for droplet in _tagged(api, spec)})


def create(api: Api, order: Order, offer: Offer, key: str) -> Server:
    """The server of this order, switched on, of the first size and region that is to be had.

    `key` is a public SSH key: DigitalOcean makes no droplet of a custom image without one. Raises
    UsageError when its name belongs to a server of another image.
    """
    labels = checked(order.labels)
    found = _named(api, word(order.name, "a server's name"), labels.get(SPEC, ""))
    if found is None:
        if not order.image.isdecimal():
            raise UsageError(f"there is no image {order.image}", "call `image` first")
        if len(order.user_data.encode()) > USER_DATA:
            raise UsageError("the user data has more than 64 KiB", "take keys out of the spec")
        found = _make(api, order, offer, key_number(api, key))
    if str(found["image"]["id"]) != order.image:
        raise UsageError(
            f"{order.name} is a server of the image {found['image']['name']}",
            "delete it, or take another name",
        )
    if found["status"] == "off":
        power_on(api, str(found["id"]))
    return view(api, _active(api, int(found["id"])))


def _make(api: Api, order: Order, offer: Offer, key: int) -> Droplet:
    """Ask for each size in each region until there is one."""
    full: RefusedError | None = None
    for region in offer.regions:
        for size in offer.sizes:
            try:
                return _make_one(api, order, region, size, key)
            except RefusedError as error:
                if not error.full:
                    raise
                full = error
    tried = f"{', '.join(offer.sizes)} in {', '.join(offer.regions)}"
    raise BakehouseError(
        f"DigitalOcean has none of these now: {tried}" + (f" ({full.said})" if full else ""),
        "add sizes to deploy.server_types, or regions to deploy.locations",
    ) from full


def _make_one(api: Api, order: Order, region: str, size: str, key: int) -> Droplet:
    mark = secrets.token_hex(4)
    body = {
        "name": order.name,
        "region": region,
        "size": size,
        "image": int(order.image),
        "ssh_keys": [key],
        "user_data": order.user_data,
        "tags": tags.tags(order.labels, mark),
    }
    spec = order.labels.get(SPEC, "")
    answer = api.make(
        api.client.droplets.create, body=body, find=lambda: _named(api, order.name, spec)
    )
    made: Droplet = answer.get("droplet", answer)
    ours = tags.labels_tag(order.labels, 1, mark)
    return _without_twins(api, made, order.name, spec, ours)


def _without_twins(api: Api, made: Droplet, name: str, spec: str, ours: str) -> Droplet:
    """Names are not unique, so an answer that came late may have made a second one: of all that
    are called so, the oldest counts, and those that this call made beside it go."""
    found = [one for one in _all_named(api, name) if _belongs(one, spec)] or [made]
    found.sort(key=lambda one: int(one["id"]))
    for twin in found[1:]:
        if ours in twin["tags"]:
            delete(api, str(twin["id"]))
    return found[0]


def view(api: Api, droplet: Droplet) -> Server:
    """A droplet as callers see it."""
    networks = droplet["networks"]
    public, private = (_address(networks.get("v4"), kind) for kind in ("public", "private"))
    return Server(
        id=str(droplet["id"]),
        name=droplet["name"],
        status=STATES.get(droplet["status"], "off"),
        labels=tags.labels(droplet["tags"]),
        address=public,
        address6=_address(networks.get("v6"), "public"),
        private=private or public,
        volumes=volumes.names(api, droplet["volume_ids"]),
    )


def droplet(api: Api, server: str) -> Droplet:
    """The droplet of this id. Raises BakehouseError when there is none."""
    found = _found(api, server)
    if found is None:
        raise BakehouseError(
            f"there is no server {server}", "`invoke status` shows those there are"
        )
    return found


def set_labels(api: Api, server: str, labels: Mapping[str, str]) -> None:
    """Replace the labels: the new tag first, in one call, then the old ones are deleted."""
    before = list(droplet(api, server)["tags"])
    wanted = tags.labels_tag(checked(labels), tags.number(before) + 1)
    fixed = {tags.spec_tag(labels[SPEC])} if SPEC in labels else set()
    for tag in (*sorted(fixed - {*before}), wanted):
        put_tag(api, tag, "droplet", server)
    for tag in tags.own(before):
        drop_tag(api, tag)


def put_tag(api: Api, tag: str, kind: str, thing: str) -> None:
    """Make a tag, and give it to a thing; both may be repeated."""
    make_tag(api, tag)
    resources = {"resources": [{"resource_id": thing, "resource_type": kind}]}
    api.ask(api.client.tags.assign_resources, tag, body=resources)


def make_tag(api: Api, tag: str) -> None:
    """The tag exists."""

    def there() -> Any:
        try:
            return api.ask(api.client.tags.get, tag)
        except MissingError:
            return None

    try:
        api.make(api.client.tags.create, body={"name": tag}, find=there)
    except RefusedError as error:
        if error.status not in (409, 422) or there() is None:
            raise


def drop_tag(api: Api, tag: str) -> None:
    """The tag is gone, and with it from everything."""
    try:
        api.ask(api.client.tags.delete, tag)
    except MissingError:
        return


def power_off(api: Api, server: str) -> None:
    """Pull the plug, and wait until the droplet counts as off."""
    number = int(droplet(api, server)["id"])
    api.until(
        lambda: droplet(api, server)["status"] == "off",
        lambda: api.once(api.client.droplet_actions.post, number, body={"type": "power_off"}),
    )


def power_on(api: Api, server: str) -> None:
    """Switch it on; nothing happens to one that runs."""
    number = int(droplet(api, server)["id"])
    api.until(
        lambda: droplet(api, server)["status"] == "active",
        lambda: api.once(api.client.droplet_actions.post, number, body={"type": "power_on"}),
    )


def delete(api: Api, server: str) -> None:
    """The droplet is gone, with the tags that were its own."""
    found = _found(api, server)
    if found is None:
        return
    number = int(found["id"])
    deadline = api.waiting.clock() + BOOT
    while _found(api, server) is not None:
        try:
            api.ask(api.client.droplets.destroy, number)
        except MissingError:
            break
        if api.waiting.clock() > deadline:
            raise SilentError(f"DigitalOcean: {found['name']} does not go away", "try again")
        api.waiting.sleep(0.5)
    for tag in tags.own(found["tags"]):
        drop_tag(api, tag)


def left_overs(api: Api, names: re.Pattern[str]) -> list[Garbage]:
    """Droplets that are called so."""
    return [
        Garbage(f"the droplet {one['name']}", 0, partial(delete, api, str(one["id"])))
        for one in api.pages(api.client.droplets.list, "droplets")
        if names.fullmatch(one["name"])
    ]


def key_number(api: Api, public: str) -> int:
    """The number of the operator's SSH key at DigitalOcean, which gets it when it is not there."""
    kind_and_key = " ".join(public.split()[:2])

    def there() -> Any:
        try:
            return api.ask(api.client.ssh_keys.get, fingerprint(kind_and_key))
        except MissingError:
            return None

    found = there()
    if found is None:
        body = {"name": "bakehouse operator", "public_key": kind_and_key}
        try:
            found = api.make(api.client.ssh_keys.create, body=body, find=there)
        except RefusedError:
            if (found := there()) is None:
                raise
    return int(found["ssh_key"]["id"])


def _active(api: Api, number: int) -> Droplet:
    """The droplet once it is active and has an address."""
    deadline = api.waiting.clock() + BOOT
    while True:
        found = droplet(api, str(number))
        if found["status"] == "active" and _address(found["networks"].get("v4"), "public"):
            return found
        if api.waiting.clock() > deadline:
            raise SilentError(
                f"DigitalOcean: {found['name']} is not active yet", "look at the control panel"
            )
        api.waiting.sleep(1.0)


def _tagged(api: Api, spec: str) -> list[Droplet]:
    try:
        found = api.pages(api.client.droplets.list, "droplets", tag_name=tags.spec_tag(spec))
    except MissingError:
        return []
    return [one for one in found if _belongs(one, spec)]


def _belongs(one: Droplet, spec: str) -> bool:
    return tags.labels(one["tags"]).get(SPEC, "") == spec


def _all_named(api: Api, name: str) -> list[Droplet]:
    found = api.pages(api.client.droplets.list, "droplets", name=name)
    return [one for one in found if one["name"] == name]


def _named(api: Api, name: str, spec: str) -> Droplet | None:
    found = [one for one in _all_named(api, name) if _belongs(one, spec)]
    return min(found, key=lambda one: int(one["id"]), default=None)


def _found(api: Api, server: str) -> Droplet | None:
    if not server.isdecimal():
        return None
    try:
        found: Droplet = api.ask(api.client.droplets.get, int(server))["droplet"]
    except MissingError:
        return None
    return found


def _address(networks: Sequence[Mapping[str, Any]] | None, kind: str) -> str:
    return next((str(one["ip_address"]) for one in networks or () if one["type"] == kind), "")

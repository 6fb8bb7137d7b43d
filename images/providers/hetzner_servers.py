"""Servers at Hetzner."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any, Final

from hcloud import APIException
from hcloud.images import Image
from hcloud.locations import Location
from hcloud.server_types import ServerType

from images.providers import hetzner_network, hetzner_places
from images.providers.base import IMAGE, SPEC, Order, Server, Status
from images.providers.hetzner_api import ELSEWHERE, Api, ElsewhereError, FailedActionError
from images.providers.hetzner_places import Bond
from images.providers.local_state import checked, word
from images.providers.offer import offer
from specs.errors import BakehouseError, UsageError
from specs.model import Deploy, Spec

STATUS: Final[Mapping[str, Status]] = {
    "initializing": "starting",
    "starting": "starting",
    "off": "off",
}
"""Everything else counts as running: what is not surely off may write."""


def listed(api: Api, spec: str) -> list[Server]:
    """All servers with this spec's label, by name."""
    look = f"list the servers of {spec}"
    found = api.ask(look, lambda: api.client.servers.get_all(label_selector=f"{SPEC}=={spec}"))
    there = [one for one in found if one.status != "deleting"]
    names: dict[int, str] = {}
    if any(one.volumes for one in there):
        volumes = api.ask("list volumes", api.client.volumes.get_all)
        names = {volume.id: volume.name for volume in volumes}
    return sorted((view(one, names) for one in there), key=lambda server: server.name)


def view(found: Any, volumes: Mapping[int, str] | None = None) -> Server:
    """The server as callers see it; of an IPv6 network it has the first address."""
    public = found.public_net
    address = public.ipv4.ip if public.ipv4 else ""
    address6 = str(ip_network(public.ipv6.ip)[1]) if public.ipv6 else ""
    private = found.private_net[0].ip if found.private_net else address
    known = volumes or {}
    return Server(
        id=str(found.id),
        name=found.name,
        status=STATUS.get(found.status, "running"),
        labels=dict(found.labels),
        address=address,
        address6=address6,
        private=private,
        volumes=tuple(known.get(one.id, str(one.id)) for one in found.volumes),
    )


def find(api: Api, server: str) -> Any | None:
    """The server of this id, or None; to be called within an attempt."""
    if not server.isdecimal():
        return None
    try:
        found = api.client.servers.get_by_id(int(server))
    except APIException as error:
        if error.code == "not_found":
            return None
        raise
    return None if found.status == "deleting" else found


def known(api: Api, server: str) -> Any:
    """The server of this id. Raises BakehouseError when there is none."""
    found = find(api, server)
    if found is None:
        raise BakehouseError(
            f"there is no server {server} at Hetzner", "`invoke status` shows those there are"
        )
    return found


def create(api: Api, order: Order, spec: Spec | None) -> Server:
    """The server of this order, wherever there is room: each of `deploy.server_types` in all of
    `deploy.locations` before the next one; where the spec has a volume, in its location only.

    Raises UsageError when its name belongs to a server of another image.
    """
    word(order.name, "a server's name")
    checked(order.labels)
    if not order.image.isdecimal():
        raise UsageError(f"there is no image {order.image} at Hetzner", "call `image` first")
    places, kinds = offer(spec.deploy if spec else Deploy())
    name = order.labels.get(SPEC, "")  # what has none is there for a moment: a build's server
    bond = hetzner_places.bond(api, name) if name else hetzner_places.FREE
    places = (bond.place,) if bond.place else places
    networks = [hetzner_network.network(api, name, places[0])] if name else []
    firewalls = [hetzner_network.firewall(api, spec)] if name and spec else []
    full = ""
    for kind in kinds:
        for place in places:

            def attempt(kind: str = kind, place: str = place) -> Any:
                found = api.client.servers.get_by_name(order.name)
                if found is None:
                    made = api.client.servers.create(
                        name=order.name,
                        server_type=ServerType(name=kind),
                        image=Image(id=int(order.image)),
                        location=Location(name=place),
                        user_data=order.user_data,
                        labels=dict(order.labels),
                        networks=networks,
                        firewalls=firewalls,
                    )
                    _await_made(api, order.name, made.server, [made.action, *made.next_actions])
                return _same(order, api.client.servers.get_by_name(order.name))

            try:
                found = api.repeat(f"create the server {order.name}", attempt)
            except ElsewhereError as error:
                full = error.message
                continue
            return _settled(api, found)
    raise _no_room(order.name, bond, full)


def _no_room(name: str, bond: Bond, full: str) -> ElsewhereError:
    if bond.place:
        return ElsewhereError(
            f"no room for {name} in {bond.place}, where {bond.volume} is, whatever was tried; "
            f"the last answer: {full}",
            "name further `deploy.server_types`, or wait: a volume stays in its location",
        )
    return ElsewhereError(
        f"no room for {name}, whatever was tried; the last answer: {full}",
        "name further `deploy.locations` and `deploy.server_types`, or wait",
    )


def _await_made(api: Api, name: str, server: Any, actions: list[Any]) -> None:
    """Wait until it is made. One that fails is deleted, so that nothing is left that is paid."""
    try:
        api.await_all(f"create the server {name}", actions)
    except FailedActionError as error:
        delete(api, str(server.id))
        if error.code in ELSEWHERE:
            raise ElsewhereError(error.message, error.hint) from error
        raise


def _same(order: Order, found: Any | None) -> Any:
    if found is None:
        raise BakehouseError(
            f"the server {order.name} was made and is gone", "see Hetzner's console: who deleted it"
        )
    if found.image is None or str(found.image.id) != order.image:
        shown = found.image.labels.get(IMAGE, found.image.id) if found.image else "deleted"
        raise UsageError(
            f"{order.name} is a server of the image {shown}", "delete it, or take another name"
        )
    return found


def _settled(api: Api, found: Any) -> Server:
    """Also a server that an earlier run ordered, whose answer was lost, is to be on."""

    def ready() -> bool:
        return known(api, str(found.id)).status not in ("initializing", "starting")

    api.until(f"start the server {found.name}", ready)
    return api.ask(f"look at {found.name}", lambda: view(known(api, str(found.id))))


def set_labels(api: Api, server: str, labels: Mapping[str, str]) -> None:
    """Replace its labels."""
    wanted = checked(labels)
    api.repeat(f"label the server {server}", lambda: known(api, server).update(labels=dict(wanted)))


def power_off(api: Api, server: str) -> None:
    """Pull the plug, and see that it is off: an action's success is not yet that."""
    what = f"switch off the server {server}"

    def attempt() -> None:
        found = known(api, server)
        if found.status != "off":
            api.await_all(what, [found.power_off()])

    api.repeat(what, attempt)
    api.until(what, lambda: known(api, server).status == "off")


def power_on(api: Api, server: str) -> None:
    """Switch it on."""
    what = f"switch on the server {server}"

    def attempt() -> None:
        found = known(api, server)
        if found.status == "off":
            api.await_all(what, [found.power_on()])

    api.repeat(what, attempt)
    api.until(what, lambda: known(api, server).status == "running")


def delete(api: Api, server: str) -> None:
    """The server and its disk are gone; nothing happens when it was gone."""
    what = f"delete the server {server}"

    def attempt() -> None:
        found = find(api, server)
        if found is not None:
            api.await_all(what, [found.delete()])

    api.repeat(what, attempt)
    api.until(what, lambda: find(api, server) is None)

"""Floating IPs at Hetzner: one of each family under one name."""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any, Final

from hcloud import APIException
from hcloud.locations import Location

from images.providers import hetzner_servers
from images.providers.base import SPEC, FloatingIp, still_held
from images.providers.hetzner_api import Api
from images.providers.local_state import word
from specs.errors import BakehouseError

V6: Final = "-v6"
"""What follows the name of a floating IP for the one of the other family."""


def floating_ip(api: Api, name: str) -> FloatingIp:
    """The floating IP of this name, or with this address, as Hetzner has it now. It is at a server
    when both families are."""
    found = api.ask(f"look for the floating IP {name}", lambda: _found(api, name))
    v4, v6 = found.get("ipv4"), found.get("ipv6")
    holders = {str(one.server.id) if one.server else "" for one in found.values()}
    return FloatingIp(
        name,
        v4.ip if v4 else "",
        str(ip_network(v6.ip)[1]) if v6 else "",
        holders.pop() if len(holders) == 1 else "",
    )


def create_floating_ip(api: Api, name: str, spec: str, place: str) -> FloatingIp:
    """One of each family, called `name` and `name-v6`, unless they are there.

    Raises BakehouseError for an address that is not the project's.
    """
    if not _is_address(name):
        for kind, called in (("ipv4", name), ("ipv6", f"{name}{V6}")):

            def attempt(kind: str = kind, called: str = called) -> None:
                if kind not in _found(api, name):
                    api.client.floating_ips.create(
                        type=kind,
                        name=word(called, "a floating IP's name"),
                        home_location=Location(name=place),
                        labels={SPEC: spec},
                    )

            api.repeat(f"make the floating IP {called}", attempt)
    found = floating_ip(api, name)
    if not (found.v4 or found.v6):
        raise BakehouseError(
            f"the floating IP {name} is not in this project",
            "order one in Hetzner's console, or give deploy.floating_ip a name",
        )
    return found


def assign(api: Api, name: str, server: str) -> None:
    """Point both families at a server, or at none.

    Raises BakehouseError when there is no such floating IP or server.
    """
    what = f"point the floating IP {name} at {server or 'no server'}"

    def attempt() -> None:
        found = _found(api, name)
        if not found:
            raise BakehouseError(
                f"there is no floating IP {name} at Hetzner",
                "was deploy.floating_ip changed? put the old name back",
            )
        target = hetzner_servers.known(api, server) if server else None
        for one in found.values():
            held = one.server.id if one.server else None
            if held == (target.id if target else None):
                continue
            try:
                moved = one.assign(target) if target else one.unassign()
            except APIException as error:
                # It says so, too, of what an earlier request, whose answer was lost, has done.
                if error.code in ("floating_ip_assigned", "floating_ip_not_assigned"):
                    continue
                raise
            api.await_all(what, [moved])

    api.repeat(what, attempt)
    api.until(what, lambda: floating_ip(api, name).server == server)


def refuse_held(api: Api, spec: str) -> None:
    """Raises BakehouseError while a server has a floating IP that was made for this spec."""
    look = f"look who has the floating IPs of {spec}"
    every = api.ask(look, lambda: api.client.floating_ips.get_all(label_selector=f"{SPEC}=={spec}"))
    for one in every:
        holder = str(one.server.id) if one.server else ""
        server = api.ask(look, partial(hetzner_servers.find, api, holder))
        if server is not None:
            raise still_held(
                one.name,
                one.ip,
                server.name,
                f"take the label {SPEC}={spec} from its IPv4 and its IPv6 half in Hetzner's "
                "console, by which it is nobody's to delete, or delete that server",
            )


def _found(api: Api, name: str) -> dict[str, Any]:
    """By family; to be called within an attempt."""
    every = api.client.floating_ips.get_all()
    if _is_address(name):
        return {one.type: one for one in every if ip_address(name) in ip_network(one.ip)}
    names = {"ipv4": name, "ipv6": f"{name}{V6}"}
    return {one.type: one for one in every if one.name == names[one.type]}


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

"""Reserved IPs. They have no names and no tags: which one is a spec's, a note says.

The vendor leads a reserved IP to its droplet by translating it to an address of that droplet: its
anchor address, or, where it was made of a custom image, its public one ("Reserved IP Limits" in the
vendor's documentation). An address has a region, and only droplets there can hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, ip_address
from typing import Any, Final

from images.providers import digitalocean_notes as notes
from images.providers.base import FloatingIp, still_held
from images.providers.digitalocean_api import Api, MissingError
from images.providers.digitalocean_notes import ADDRESS
from images.providers.digitalocean_servers import droplet
from images.providers.local_state import word
from specs.errors import BakehouseError

MAKING: Final = "making"


def find(api: Api, name: str) -> FloatingIp:
    """The floating IP of this name, or that has this address; without addresses: there is none."""
    found = _find(api, name)
    if found is None:
        return FloatingIp(name, "", "", "")
    return FloatingIp(name, found["ip"], "", _holder(found), translated=True)


def region(api: Api, name: str) -> str:
    """Where it is; "" when there is none."""
    found = _find(api, name)
    return str(found["region"]["slug"]) if found else ""


def create(api: Api, name: str, where: Callable[[], str]) -> FloatingIp:
    """The floating IP of this name, reserved in the region `where` when there is none.

    Raises BakehouseError for an address that is not the account's, and after a run that ended
    while it reserved one: there may be one that nobody knows then.
    """
    found = find(api, name)
    if found.v4:
        return found
    if _is_address(name):
        raise BakehouseError(
            f"the reserved IP {name} is not in this account", "reserve one, or give it a name"
        )
    if not notes.make(api, ADDRESS, word(name, "a floating IP's name"), {"state": MAKING}):
        _look_for_stray(api, name)
    notes.change(api, ADDRESS, name, {"ip": _reserve(api, where())})
    return find(api, name)


def assign(api: Api, name: str, server: str) -> None:
    """Point it at a droplet, or at none; it is looked at until that is so."""
    found = _find(api, name)
    if found is None:
        raise BakehouseError(
            f"there is no floating IP {name}",
            "was deploy.floating_ip changed? put the old name back",
        )
    ip = found["ip"]
    body: dict[str, Any] = {"type": "unassign"}
    if server:
        body = {"type": "assign", "droplet_id": int(droplet(api, server)["id"])}
    api.until(
        lambda: _holder(_get(api, ip) or {}) == server,
        lambda: api.once(api.client.reserved_ips_actions.post, ip, body=body),
    )


def delete(api: Api, name: str) -> None:
    """The reserved IP of this name is given back; one that was named by its address stays.

    Raises BakehouseError while a droplet has it.
    """
    if _is_address(name):
        return
    found = _find(api, name)
    if found is not None:
        _refuse_held(api, name, found)
        with suppress(MissingError):
            api.ask(api.client.reserved_ips.delete, found["ip"])
    notes.delete(api, ADDRESS, name)


def _refuse_held(api: Api, name: str, found: Mapping[str, Any]) -> None:
    holder = _holder(found)
    droplets = api.pages(api.client.droplets.list, "droplets") if holder else []
    for one in droplets:
        if str(one["id"]) == holder:
            raise still_held(
                name,
                found["ip"],
                one["name"],
                f"write deploy.floating_ip: {found['ip']} into the spec, by which it is not its to "
                "delete, or delete that server",
            )


def _reserve(api: Api, where: str) -> str:
    """A new address. When its answer was lost, it is the one that was not there before."""
    before = {one["ip"] for one in _all(api)}

    def appeared() -> Any:
        new = [one for one in _all(api) if one["ip"] not in before and _free(one, where)]
        if len(new) > 1:
            raise BakehouseError(
                f"which of these was reserved just now? {', '.join(one['ip'] for one in new)}",
                "write the right one into deploy.floating_ip",
            )
        return {"reserved_ip": new[0]} if new else None

    made = api.make(api.client.reserved_ips.create, body={"region": where}, find=appeared)
    api.finish(made)
    return str(made["reserved_ip"]["ip"])


def _look_for_stray(api: Api, name: str) -> None:
    known = {note.labels.get("ip", "") for note in notes.starting(api, ADDRESS, "")}
    stray = [one["ip"] for one in _all(api) if not _holder(one) and one["ip"] not in known]
    if stray:
        raise BakehouseError(
            f"a run was cut short while it reserved an address for {name}; "
            f"these belong to nothing: {', '.join(stray)}",
            "write one into deploy.floating_ip, or delete it at DigitalOcean",
        )


def _find(api: Api, name: str) -> Mapping[str, Any] | None:
    if _is_address(name):
        return _get(api, name)
    kept = notes.find(api, ADDRESS, word(name, "a floating IP's name"))
    ip = kept.labels.get("ip", "") if kept else ""
    return _get(api, ip) if ip else None


def _get(api: Api, ip: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = api.ask(api.client.reserved_ips.get, ip)["reserved_ip"]
    except MissingError:
        return None
    return found


def _all(api: Api) -> list[Mapping[str, Any]]:
    return api.pages(api.client.reserved_ips.list, "reserved_ips")


def _free(one: Mapping[str, Any], where: str) -> bool:
    return not _holder(one) and one["region"]["slug"] == where


def _holder(found: Mapping[str, Any]) -> str:
    held = found.get("droplet") or {}
    return str(held["id"]) if "id" in held else ""


def _is_address(name: str) -> bool:
    try:
        return isinstance(ip_address(name), IPv4Address)
    except ValueError:
        return False

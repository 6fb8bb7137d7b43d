"""Floating IPs of the local cloud: the files say who holds one, and the network follows."""

from __future__ import annotations

from images.providers import local_network
from images.providers.base import FloatingIp, still_held
from images.providers.local_network import Floating
from images.providers.local_state import Cloud, Record, read, record, records, word, write
from specs.errors import BakehouseError


def find(cloud: Cloud, name: str) -> FloatingIp:
    """The floating IP of this name, as the network has it now; without addresses when there is
    none. Makes nothing."""
    if name not in _held(cloud):
        return FloatingIp(name, "", "", "")
    with cloud.registry():
        if local_network.whole(cloud):
            follow(cloud)
        return _view(cloud, name)


def create(cloud: Cloud, name: str) -> FloatingIp:
    """The floating IP of this name, made when there is none."""
    with cloud.registry():
        held = _held(cloud)
        if word(name, "a floating IP's name") not in held:
            write(cloud.floating / f"{name}.json", {"number": _number(held), "server": ""})
        local_network.ensure(cloud)
        follow(cloud)
        return _view(cloud, name)


def _view(cloud: Cloud, name: str) -> FloatingIp:
    number, server = _held(cloud)[name]
    ip = Floating(number, ())
    return FloatingIp(name, ip.v4, ip.v6, server)


def holder(cloud: Cloud, name: str) -> str:
    """The id of the server that holds it; "" when none does, or there is no such IP."""
    return _held(cloud).get(name, (0, ""))[1]


def assign(cloud: Cloud, name: str, server: str) -> None:
    """Point it at a server, or at none.

    First the file: a call that ends in between is ended by the next one. Raises BakehouseError when
    there is no such floating IP or server.
    """
    with cloud.registry():
        before = _held(cloud)
        if name not in before:
            raise BakehouseError(
                f"there is no floating IP {name}",
                "was deploy.floating_ip changed? put the old name back",
            )
        if server:
            record(cloud, server)
        write(cloud.floating / f"{name}.json", {"number": before[name][0], "server": server})
        local_network.ensure(cloud)
        local_network.point(cloud, _described(cloud, before), _described(cloud, _held(cloud)))


def delete(cloud: Cloud, name: str) -> None:
    """The floating IP is gone. Gone before: fine. Raises BakehouseError while a server has it."""
    with cloud.registry():
        before = _held(cloud)
        if name not in before:
            return
        number, server = before[name]
        if server:
            ip, holder = Floating(number, ()), record(cloud, server).name
            raise still_held(name, ip.v4, holder, "destroy the spec of that server first")
        (cloud.floating / f"{name}.json").unlink()
        if local_network.exists(cloud):
            local_network.point(cloud, _described(cloud, before), _described(cloud, _held(cloud)))


def let_go(cloud: Cloud, server: str) -> None:
    """Take all floating IPs from a server that goes away; the registry must be held."""
    held = {name: number for name, (number, holder) in _held(cloud).items() if holder == server}
    for name, number in held.items():
        write(cloud.floating / f"{name}.json", {"number": number, "server": ""})
    if held and local_network.exists(cloud):
        follow(cloud)


def follow(cloud: Cloud) -> None:
    """Make the network as the files have it; the registry must be held."""
    described = _described(cloud, _held(cloud))
    local_network.point(cloud, described, described)


def _held(cloud: Cloud) -> dict[str, tuple[int, str]]:
    """Number and holder's id of each floating IP, by name."""
    found = {file.stem: read(file) for file in sorted(cloud.floating.glob("[!.]*.json"))}
    return {name: (data["number"], data["server"]) for name, data in found.items() if data}


def _described(cloud: Cloud, held: dict[str, tuple[int, str]]) -> list[Floating]:
    servers = {found.id: found for found in records(cloud)}

    def holders(server: str) -> tuple[Record, ...]:
        return (servers[server],) if server in servers else ()

    return [Floating(number, holders(server)) for number, server in held.values()]


def _number(held: dict[str, tuple[int, str]]) -> int:
    taken = {number for number, _ in held.values()}
    for number in range(1, local_network.FLOATING + 1):
        if number not in taken:
            return number
    raise BakehouseError("the local cloud has no floating IP left", "run `invoke gc --all`")

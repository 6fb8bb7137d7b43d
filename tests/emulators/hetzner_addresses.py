"""Hetzner's floating IPs: one family each, an IPv6 one is a network of 64 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.emulators import hetzner_catalogue as catalogue
from tests.emulators.hetzner_things import Kind, Thing, invalid
from tests.emulators.served import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.emulators.hetzner import Hetzner

Json = dict[str, Any]


class Addresses:
    """Each leads to one server at most; the server must have the address by itself."""

    def __init__(self, api: Hetzner) -> None:
        self.api = api
        self.kind = Kind("floating_ip", "floating_ips")
        api.manages(self.kind)
        api.route("POST", "/floating_ips", self._add)
        api.route("DELETE", "/floating_ips/{id}", self._drop)
        api.route("POST", "/floating_ips/{id}/actions/assign", self._assign)
        api.route("POST", "/floating_ips/{id}/actions/unassign", self._unassign)

    def of(self, server: int) -> list[int]:
        """The floating IPs of a server."""
        return [one.id for one in self.kind.things.values() if one.shown["server"] == server]

    def let_go(self, server: int) -> None:
        """A server goes away."""
        for number in self.of(server):
            self._point(self.kind.get(number), None)

    def _add(self, request: Request) -> Answer:
        body = request.body
        server = body.get("server")
        if server is None and "home_location" not in body:
            raise invalid("home_location", "is required without a server")
        home = body.get("home_location") or self.api.servers.kind.get(server).hidden["location"]
        number = next(self.kind.numbers)
        name = body.get("name") or f"floating-ip-{number}"
        self.kind.unique(name)
        v4, v6 = self.api.machines.floating(f"ip-{number}")
        shown = {
            "id": number,
            "name": name,
            "description": body.get("description"),
            "ip": v4 if body["type"] == "ipv4" else f"{v6.removesuffix('1')}/64",
            "type": body["type"],
            "server": None,
            "dns_ptr": [],
            "home_location": self.api.locations.named(home).shown,
            "blocked": False,
            "protection": {"delete": False},
            "labels": body.get("labels") or {},
            "created": catalogue.now(),
        }
        thing = self.kind.add(shown)
        told: Json = {"floating_ip": thing.shown}
        if server is not None:
            told["action"] = self._move(thing, server)
        return Answer(201, told)

    def _drop(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        self._point(thing, None)
        del self.kind.things[thing.id]
        return Answer(204)

    def _assign(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        server = self.api.servers.kind.get(request.body["server"])
        self.api.free(thing)
        if thing.shown["server"] == server.id:
            raise Refusal(422, "floating_ip_assigned", "floating IP already assigned")
        return Answer(201, {"action": self._move(thing, server.id)})

    def _unassign(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        self.api.free(thing)
        if thing.shown["server"] is None:
            raise Refusal(422, "floating_ip_not_assigned", "floating IP is not assigned")
        return Answer(201, {"action": self._move(thing, None)})

    def _move(self, thing: Thing, server: int | None) -> Json:
        resources = [{"type": "floating_ip", "id": thing.id}]
        if server is not None:
            resources.append({"type": "server", "id": server})
        command = "unassign_floating_ip" if server is None else "assign_floating_ip"
        action = self.api.actions.begin(
            command, resources, lambda: self._point(thing, server), on=id(thing)
        )
        return self.api.shown(action)

    def _point(self, thing: Thing, server: int | None) -> None:
        machine = "" if server is None else self.api.servers.kind.get(server).hidden["machine"]
        self.api.machines.assign(f"ip-{thing.id}", machine)
        thing.shown["server"] = server

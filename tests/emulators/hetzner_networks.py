"""Hetzner's private networks and firewalls."""

from __future__ import annotations

from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING, Any

from tests.emulators import hetzner_catalogue as catalogue
from tests.emulators.hetzner_things import Kind, Thing, invalid
from tests.emulators.served import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.emulators.hetzner import Hetzner

Json = dict[str, Any]


class Networks:
    """Each server of a network has an address there; firewalls are kept, and not put to work."""

    def __init__(self, api: Hetzner) -> None:
        self.api = api
        self.kind = Kind("network", "networks", show=self._network)
        self.firewalls = Kind("firewall", "firewalls", show=self._firewall)
        api.manages(self.kind)
        api.manages(self.firewalls)
        api.route("POST", "/networks", self._add_network)
        api.route("DELETE", "/networks/{id}", self._drop_network)
        api.route("POST", "/networks/{id}/actions/add_subnet", self._add_subnet)
        api.route("POST", "/firewalls", self._add_firewall)
        api.route("DELETE", "/firewalls/{id}", self._drop_firewall)
        api.route("POST", "/firewalls/{id}/actions/set_rules", self._set_rules)
        api.route("POST", "/firewalls/{id}/actions/apply_to_resources", self._apply)
        api.route("POST", "/firewalls/{id}/actions/remove_from_resources", self._remove)

    def _network(self, thing: Thing) -> Json:
        members = self.api.servers.kind.things.values()
        inside = [one.id for one in members if one.hidden["networks"].get(thing.id)]
        return {**thing.shown, "servers": inside}

    def _add_network(self, request: Request) -> Answer:
        body = request.body
        subnets = [_subnet(body["ip_range"], one) for one in body.get("subnets") or ()]
        shown = {
            "name": body["name"],
            "ip_range": body["ip_range"],
            "subnets": subnets,
            "routes": body.get("routes") or [],
            "load_balancers": [],
            "expose_routes_to_vswitch": False,
            "protection": {"delete": False},
            "labels": body.get("labels") or {},
            "created": catalogue.now(),
        }
        thing = self.kind.add(shown, next=2)
        return Answer(201, {"network": self.kind.show(thing)})

    def _add_subnet(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        new = _subnet(thing.shown["ip_range"], request.body)
        resources = [{"type": "network", "id": thing.id}]
        action = self.api.actions.begin(
            "add_subnet", resources, lambda: thing.shown["subnets"].append(new), on=id(thing)
        )
        return Answer(201, {"action": self.api.shown(action)})

    def _drop_network(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        if self._network(thing)["servers"]:
            raise Refusal(409, "resource_in_use", "network is still in use")
        del self.kind.things[thing.id]
        return Answer(204)

    def address(self, number: int) -> tuple[str, str]:
        """A free address of a network, and the same with the width of its subnet."""
        thing = self.kind.get(number)
        if not thing.shown["subnets"]:
            raise invalid("networks", "network has no subnet")
        part = ip_network(thing.shown["subnets"][0]["ip_range"])
        found = part.network_address + thing.hidden["next"]
        thing.hidden["next"] += 1
        return str(found), f"{found}/{part.prefixlen}"

    def _firewall(self, thing: Thing) -> Json:
        members = self.api.servers.kind.things.values()
        applied = [
            {"type": "server", "server": {"id": one.id}}
            for one in members
            if thing.id in one.hidden["firewalls"]
        ]
        return {**thing.shown, "applied_to": applied}

    def _add_firewall(self, request: Request) -> Answer:
        body = request.body
        shown = {
            "name": body["name"],
            "rules": [_rule(rule) for rule in body.get("rules") or ()],
            "labels": body.get("labels") or {},
            "created": catalogue.now(),
        }
        thing = self.firewalls.add(shown)
        return Answer(201, {"firewall": self.firewalls.show(thing), "actions": []})

    def _drop_firewall(self, request: Request) -> Answer:
        thing = self.firewalls.get(request.number())
        if self._firewall(thing)["applied_to"]:
            raise Refusal(409, "resource_in_use", "firewall is still in use")
        del self.firewalls.things[thing.id]
        return Answer(204)

    def _set_rules(self, request: Request) -> Answer:
        thing = self.firewalls.get(request.number())

        def work() -> None:
            thing.shown["rules"] = [_rule(rule) for rule in request.body["rules"]]

        return self._acted("set_firewall_rules", thing, work)

    def _apply(self, request: Request) -> Answer:
        thing = self.firewalls.get(request.number())
        servers = [
            self.api.servers.kind.get(one["server"]["id"]) for one in request.body["apply_to"]
        ]

        def work() -> None:
            for server in servers:
                server.hidden["firewalls"].add(thing.id)

        return self._acted("apply_firewall", thing, work)

    def _remove(self, request: Request) -> Answer:
        thing = self.firewalls.get(request.number())
        named = [one["server"]["id"] for one in request.body["remove_from"]]

        def work() -> None:
            for number in named:
                self.api.servers.kind.get(number).hidden["firewalls"].discard(thing.id)

        return self._acted("remove_firewall", thing, work)

    def _acted(self, command: str, thing: Thing, work: Any) -> Answer:
        resources = [{"type": "firewall", "id": thing.id}]
        action = self.api.actions.begin(command, resources, work, on=id(thing))
        return Answer(201, {"actions": [self.api.shown(action)]})


def _rule(rule: Json) -> Json:
    return {
        "description": None,
        "source_ips": [],
        "destination_ips": [],
        "port": None,
        **rule,
    }


def _subnet(whole: str, one: Json) -> Json:
    part = IPv4Network(one.get("ip_range") or whole)
    if not part.subnet_of(IPv4Network(whole)):
        raise invalid("subnets", "is not part of the network")
    return {
        "type": one["type"],
        "network_zone": one["network_zone"],
        "ip_range": str(part),
        "gateway": str(part.network_address + 1),
        "vswitch_id": None,
    }

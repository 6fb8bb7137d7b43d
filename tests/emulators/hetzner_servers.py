"""Hetzner's servers, and the images that are made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.emulators import hetzner_catalogue as catalogue
from tests.emulators.hetzner_things import Kind, Thing, checked_labels, invalid
from tests.emulators.served import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.emulators.hetzner import Hetzner

Json = dict[str, Any]
USER_DATA = 32 << 10
"""Bytes of user data at most (Hetzner's API reference, "Create a server")."""


class Servers:
    """`nowhere` are the pairs of server type and location that have no capacity left, `unoffered`
    those that the vendor does not sell."""

    def __init__(self, api: Hetzner) -> None:
        self.api = api
        self.kind = Kind("server", "servers", show=self._server, limit=10)
        self.nowhere: set[tuple[str, str]] = set()
        self.unoffered: set[tuple[str, str]] = set()
        api.manages(self.kind)
        api.route("POST", "/servers", self._add)
        api.route("DELETE", "/servers/{id}", self._drop)
        for name, acts in (
            ("poweron", self._power_on),
            ("poweroff", self._power_off),
            ("reset", self._reset),
            ("reboot", self._reboot),
            ("shutdown", self._shutdown),
            ("create_image", self._create_image),
            ("attach_to_network", self._attach_to_network),
        ):
            api.route("POST", f"/servers/{{id}}/actions/{name}", acts)

    def _server(self, thing: Thing) -> Json:
        api, hidden = self.api, thing.hidden
        networks = [
            {"network": number, "ip": ip, "alias_ips": [], "mac_address": "86:00:ff:2a:7d:e1"}
            for number, ip in hidden["networks"].items()
        ]
        firewalls = [{"id": number, "status": "applied"} for number in hidden["firewalls"]]
        public = {
            "ipv4": {"id": 2 * thing.id, "ip": hidden["ipv4"], "blocked": False, "dns_ptr": "host"},
            "ipv6": {"id": 2 * thing.id + 1, "ip": hidden["ipv6"], "blocked": False, "dns_ptr": []},
            "floating_ips": api.addresses.of(thing.id),
            "firewalls": firewalls,
        }
        return {
            **thing.shown,
            "status": self._status(thing),
            "public_net": public,
            "private_net": networks,
            "volumes": api.volumes.of(thing.id),
            "locked": api.actions.busy(id(thing)),
        }

    def _status(self, thing: Thing) -> str:
        state: str = thing.hidden["state"]
        if state:
            return state
        return self.api.machines.status(thing.hidden["machine"])

    def _add(self, request: Request) -> Answer:
        api, body = self.api, request.body
        kind = api.types.named(body["server_type"])
        image = api.images.named(body["image"])
        if image.shown["status"] != "available":
            raise invalid("image", "image is not available yet")
        place = api.locations.named(body.get("location") or catalogue.LOCATIONS[0]["name"])
        keys = [api.keys.named(word) for word in body.get("ssh_keys") or ()]
        if len((body.get("user_data") or "").encode()) > USER_DATA:
            raise invalid("user_data", "is longer than 32 KiB")
        self.kind.unique(body["name"])
        checked_labels(body)
        if (kind.shown["name"], place.shown["name"]) in self.unoffered:
            raise Refusal(422, "invalid_input", "unsupported location for server type")
        if (kind.shown["name"], place.shown["name"]) in self.nowhere:
            raise Refusal(412, "resource_unavailable", "error during placement")
        number = next(self.kind.numbers)
        networks = {one: api.networks.address(one) for one in body.get("networks") or ()}
        ipv6 = f"2001:db8:{number:x}"
        thing = self.kind.add(
            {
                "id": number,
                "name": body["name"],
                "created": catalogue.now(),
                "server_type": kind.shown,
                "datacenter": api.datacenters.get(place.id).shown,
                "location": place.shown,
                "image": image.shown,
                "iso": None,
                "rescue_enabled": False,
                "backup_window": None,
                "outgoing_traffic": None,
                "ingoing_traffic": None,
                "included_traffic": 20 << 40,
                "protection": {"delete": False, "rebuild": False},
                "labels": body.get("labels") or {},
                "load_balancers": [],
                "primary_disk_size": kind.shown["disk"],
                "placement_group": None,
            },
            state="initializing",
            machine="",
            location=place.shown["name"],
            networks={one: ip for one, (ip, _) in networks.items()},
            firewalls={
                api.networks.firewalls.get(f["firewall"]).id for f in body.get("firewalls") or ()
            },
            ipv4="0.0.0.0",
            ipv6=f"{ipv6}::/64",
        )
        further = [f"{ipv6}::1/64", *(wide for _, wide in networks.values())]
        public = [key.shown["public_key"] for key in keys]

        def work() -> None:
            machine = api.machines.create(
                body["name"],
                image.hidden["key"],
                body.get("user_data") or "",
                keys=public,
                further=further,
            )
            api.machines.route6(f"{ipv6}::/64", machine)
            thing.hidden.update(machine=machine, ipv4=api.machines.address(machine).v4)

        def done() -> None:
            thing.hidden["state"] = ""

        resources = self._about(thing)
        made = api.actions.begin("create_server", resources, work, on=id(thing), done=done)
        if made.error is not None:
            del self.kind.things[number]
        start = api.actions.begin("start_server", resources, after=[made], on=id(thing))
        if made.work is not None:
            made.work.join()  # the vendor knows a server's address when it answers
        told = {
            "server": self._server(thing),
            "action": api.shown(made),
            "next_actions": [api.shown(start)],
            "root_password": None if keys else "emulated",
        }
        return Answer(201, told)

    def _drop(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        self.api.free(thing)
        machine = thing.hidden["machine"]

        def work() -> None:
            thing.hidden["state"] = "deleting"
            if machine:
                self.api.machines.power_off(machine)
                self.api.addresses.let_go(thing.id)
                self.api.volumes.let_go(thing.id)
                self.api.machines.delete(machine)

        def done() -> None:
            self.kind.things.pop(thing.id, None)

        action = self.api.actions.begin(
            "delete_server", self._about(thing), work, on=id(thing), done=done
        )
        return Answer(200, {"action": self.api.shown(action)})

    def _power_on(self, request: Request) -> Answer:
        return self._acted(request, "start_server", self.api.machines.power_on)

    def _power_off(self, request: Request) -> Answer:
        return self._acted(request, "stop_server", self.api.machines.power_off)

    def _reset(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        if self.api.rescue.wanted(thing):
            return self._acted(request, "reset_server", lambda _: self.api.rescue.boot(thing))
        return self._acted(request, "reset_server", self.api.machines.reset)

    def _reboot(self, request: Request) -> Answer:
        return self._acted(request, "reboot_server", self.api.machines.reboot)

    def _shutdown(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        thing.hidden["going"] = True
        return self._acted(request, "shutdown_server", self.api.machines.shutdown)

    def _acted(self, request: Request, command: str, act: Any) -> Answer:
        thing = self.kind.get(request.number())
        self.api.free(thing)
        action = self.api.actions.begin(
            command, self._about(thing), lambda: act(thing.hidden["machine"]), on=id(thing)
        )
        return Answer(201, {"action": self.api.shown(action)})

    def _create_image(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        self.api.free(thing)
        body = request.body or {}
        checked_labels(body)
        kind, described = body.get("type", "snapshot"), body.get("description", "")
        shown = catalogue.image(0, kind, described, body.get("labels") or {}, None)
        del shown["id"]
        shown["status"] = "creating"
        shown["created_from"] = {"id": thing.id, "name": thing.shown["name"]}
        image = self.api.images.add(shown)
        image.hidden["key"] = key = f"image-{image.id}"

        def work() -> None:
            if thing.hidden.pop("going", False):
                self.api.machines.await_off(thing.hidden["machine"])
            size = self.api.machines.snapshot(thing.hidden["machine"], key)
            image.shown["image_size"] = round(size / 1e9, 3)

        def done() -> None:
            image.shown["status"] = "available"

        resources = [*self._about(thing), {"type": "image", "id": image.id}]
        action = self.api.actions.begin("create_image", resources, work, on=id(thing), done=done)
        if action.error is not None:
            del self.api.images.things[image.id]
        return Answer(201, {"image": image.shown, "action": self.api.shown(action)})

    def _attach_to_network(self, request: Request) -> Answer:
        raise Refusal(422, "unsupported_error", "servers here join networks when they are made")

    def _about(self, thing: Thing) -> list[Json]:
        return [{"type": "server", "id": thing.id}]

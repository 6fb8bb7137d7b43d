"""Hetzner's volumes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.emulators import hetzner_catalogue as catalogue
from tests.emulators.hetzner_things import Kind, Thing, invalid
from tests.emulators.served import Answer, Refusal, Request

if TYPE_CHECKING:
    from tests.emulators.hetzner import Hetzner

Json = dict[str, Any]


class Volumes:
    """Each belongs to one server at most, in its own location; sizes are GB."""

    def __init__(self, api: Hetzner) -> None:
        self.api = api
        self.kind = Kind("volume", "volumes")
        api.manages(self.kind)
        api.route("POST", "/volumes", self._add)
        api.route("DELETE", "/volumes/{id}", self._drop)
        api.route("POST", "/volumes/{id}/actions/attach", self._attach)
        api.route("POST", "/volumes/{id}/actions/detach", self._detach)

    def of(self, server: int) -> list[int]:
        """The volumes of a server."""
        return [one.id for one in self.kind.things.values() if one.shown["server"] == server]

    def let_go(self, server: int) -> None:
        """A server goes away, and was switched off."""
        for number in self.of(server):
            thing = self.kind.get(number)
            self.api.machines.detach(f"volume-{thing.id}")
            thing.shown["server"] = None

    def _add(self, request: Request) -> Answer:
        body = request.body
        if body["size"] < 10:
            raise invalid("size", "must be at least 10")
        server = body.get("server")
        place = body.get("location")
        if place is None:
            if server is None:
                raise invalid("location", "is required without a server")
            place = self.api.servers.kind.get(server).hidden["location"]
        number = next(self.kind.numbers)
        shown = {
            "id": number,
            "name": body["name"],
            "size": body["size"],
            "format": body.get("format"),
            "server": None,
            "location": self.api.locations.named(place).shown,
            "linux_device": f"/dev/disk/by-id/bakehouse-volume-{number}",
            "status": "creating",
            "protection": {"delete": False},
            "labels": body.get("labels") or {},
            "created": catalogue.now(),
        }
        thing = self.kind.add(shown)

        def work() -> None:
            self.api.machines.create_volume(f"volume-{number}", body["size"] << 30)

        def done() -> None:
            thing.shown["status"] = "available"

        resources = [{"type": "volume", "id": number}]
        made = self.api.actions.begin("create_volume", resources, work, on=id(thing), done=done)
        if made.error is not None:
            del self.kind.things[number]
        following = []
        if server is not None:
            action = self.api.actions.begin(
                "attach_volume",
                [*resources, {"type": "server", "id": server}],
                lambda: self._give(thing, server),
                on=id(thing),
                after=[made],
            )
            following.append(self.api.shown(action))
        told = {
            "volume": thing.shown,
            "action": self.api.shown(made),
            "next_actions": following,
        }
        return Answer(201, told)

    def _drop(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        self.api.free(thing)
        if thing.shown["server"] is not None:
            raise Refusal(409, "resource_in_use", "volume is attached to a server")
        self.api.machines.delete_volume(f"volume-{thing.id}")
        del self.kind.things[thing.id]
        return Answer(204)

    def _attach(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        server = self.api.servers.kind.get(request.body["server"])
        self.api.free(thing, server)
        if thing.shown["server"] is not None:
            raise Refusal(422, "volume_already_attached", "volume is already attached to a server")
        if server.hidden["location"] != thing.shown["location"]["name"]:
            raise invalid("server", "server and volume are in different locations")
        resources = [{"type": "volume", "id": thing.id}, {"type": "server", "id": server.id}]
        action = self.api.actions.begin(
            "attach_volume", resources, lambda: self._give(thing, server.id), on=id(thing)
        )
        return Answer(201, {"action": self.api.shown(action)})

    def _give(self, thing: Thing, server: int) -> None:
        machine = self.api.servers.kind.get(server).hidden["machine"]
        self.api.machines.attach(f"volume-{thing.id}", machine)
        thing.shown["server"] = server

    def _detach(self, request: Request) -> Answer:
        thing = self.kind.get(request.number())
        self.api.free(thing)
        if thing.shown["server"] is None:
            raise Refusal(422, "volume_not_attached", "volume is not attached to a server")

        def work() -> None:
            self.api.machines.detach(f"volume-{thing.id}")
            thing.shown["server"] = None

        resources = [{"type": "volume", "id": thing.id}]
        action = self.api.actions.begin("detach_volume", resources, work, on=id(thing))
        return Answer(201, {"action": self.api.shown(action)})

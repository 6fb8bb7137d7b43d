"""Hetzner's cloud API, as much as our provider, its own clients and Packer's plugin use."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from images.home import Home
from tests.emulators import hetzner_catalogue as catalogue
from tests.emulators.actions import Action, Actions
from tests.emulators.document import document
from tests.emulators.hetzner_addresses import Addresses
from tests.emulators.hetzner_networks import Networks
from tests.emulators.hetzner_rescue import Rescue
from tests.emulators.hetzner_servers import Servers
from tests.emulators.hetzner_things import Kind, Thing, invalid, paged
from tests.emulators.hetzner_volumes import Volumes
from tests.emulators.machines import Machines
from tests.emulators.served import Allowance, Answer, Api, Refusal, Request

Json = dict[str, Any]


class Hetzner(Api):
    """The project of one token. `actions.delay` is how long each action takes, in seconds."""

    prefix = "/v1"
    read_only = "token_readonly"

    def __init__(self, machines: Machines, *, delay: float = 0.0) -> None:
        super().__init__(document("hetzner"), allowance=Allowance(3600, 1.0))
        self.machines = machines
        self.actions = Actions(delay=delay)
        self.locations = Kind("location", "locations")
        self.types = Kind("server_type", "server_types")
        self.datacenters = Kind("datacenter", "datacenters")
        self.images = Kind("image", "images")
        self.keys = Kind("ssh_key", "ssh_keys")
        self.groups = Kind("placement_group", "placement_groups")
        for kind, listed in (
            (self.locations, catalogue.LOCATIONS),
            (self.types, catalogue.TYPES),
            (self.datacenters, catalogue.DATACENTERS),
        ):
            for one in listed:
                kind.add({**one})
            self._reads(kind)
        self.datacenters.also = {"recommendation": 1}
        self._route_plain()
        self.networks = Networks(self)
        self.addresses = Addresses(self)
        self.volumes = Volumes(self)
        self.rescue = Rescue(self)
        self.servers = Servers(self)
        self._route_actions()

    def add_image(
        self,
        source: Path,
        *,
        kind: str = "snapshot",
        name: str = "",
        labels: Mapping[str, str] | None = None,
    ) -> int:
        """An image that is there: the vendor's own (`system`), or what an earlier build left."""
        size = None if kind == "system" else 1.0
        shown = catalogue.image(0, kind, name, dict(labels or {}), size)
        del shown["id"]
        thing = self.images.add(shown)
        thing.hidden["key"] = f"image-{thing.id}"
        self.machines.add_image(thing.hidden["key"], source)
        return thing.id

    def labels(self, kind: Kind) -> list[Json]:
        """The labels of all things of a kind."""
        return [thing.shown["labels"] for thing in kind.things.values()]

    def left(self) -> dict[str, int]:
        """How many things there are that are paid for, or count against a quota."""
        kinds = [self.servers.kind, self.volumes.kind, self.addresses.kind, self.images]
        kinds += [self.keys, self.groups, self.networks.kind, self.networks.firewalls]
        return {
            kind.many: len([t for t in kind.things.values() if t.shown.get("type") != "system"])
            for kind in kinds
        }

    def error(self, status: int, code: str, message: str, details: Any = None) -> Answer:
        """As the vendor's reference has it ("Errors")."""
        told: Json = {"code": code, "message": message}
        if details is not None:
            told["details"] = details
        return Answer(status, {"error": told})

    def headers(self) -> Mapping[str, str]:
        """What is left of the allowance ("Rate Limiting")."""
        left = self.allowance.left if self.allowance else 0
        return {
            "RateLimit-Limit": "3600",
            "RateLimit-Remaining": str(max(0, int(left))),
            "X-Correlation-Id": "emulated",
        }

    def failing(self, code: str) -> None:
        """See `Api`."""
        self.actions.failing = code

    def shown(self, action: Action) -> Json:
        """An action as the API shows it now."""
        over = action.over(self.actions.clock())
        failed = over and action.error is not None
        finished = action.finished or action.started
        return {
            "id": action.id,
            "command": action.command,
            "status": "error" if failed else "success" if over else "running",
            "progress": 100 if over else 50,
            "started": action.started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds") if over else None,
            "resources": action.about,
            "error": {"code": action.error[0], "message": action.error[1]}
            if failed and action.error
            else None,
        }

    def free(self, *things: Thing) -> None:
        """Refuse what is to happen to a thing whose last action still runs."""
        if any(self.actions.busy(id(thing)) for thing in things):
            raise Refusal(423, "locked", "server is locked")

    def _reads(self, kind: Kind) -> None:
        self.route("GET", f"/{kind.many}", kind.list)
        self.route("GET", f"/{kind.many}/{{id}}", kind.read)

    def manages(self, kind: Kind) -> None:
        """Listing, reading and changing one kind."""
        self._reads(kind)
        self.route("PUT", f"/{kind.many}/{{id}}", kind.change)

    def _route_plain(self) -> None:
        for kind in (self.images, self.keys, self.groups):
            self.manages(kind)
        for kind in (self.keys, self.groups):
            self.route("DELETE", f"/{kind.many}/{{id}}", kind.drop)
        self.route("DELETE", "/images/{id}", self._drop_image)
        self.route("POST", "/ssh_keys", self._add_key)
        self.route("POST", "/placement_groups", self._add_group)

    def _drop_image(self, request: Request) -> Answer:
        thing = self.images.get(request.number())
        if thing.shown["type"] == "system":
            raise Refusal(403, "forbidden", "a system image is not yours")
        del self.images.things[thing.id]
        self.machines.delete_image(thing.hidden["key"])
        return Answer(204)

    def _add_key(self, request: Request) -> Answer:
        body = request.body
        words = body["public_key"].split()
        try:
            digest = hashlib.md5(base64.b64decode(words[1]), usedforsecurity=False).hexdigest()
        except (IndexError, ValueError):
            raise invalid("public_key", "is no SSH key") from None
        print_ = ":".join(digest[at : at + 2] for at in range(0, 32, 2))
        if any(one.shown["fingerprint"] == print_ for one in self.keys.things.values()):
            raise Refusal(409, "uniqueness_error", "SSH key with the same fingerprint exists")
        thing = self.keys.add(
            {
                "name": body["name"],
                "public_key": body["public_key"],
                "fingerprint": print_,
                "labels": body.get("labels") or {},
                "created": catalogue.now(),
            }
        )
        return Answer(201, {"ssh_key": thing.shown})

    def _add_group(self, request: Request) -> Answer:
        body = request.body
        shown = {
            "name": body["name"],
            "type": body["type"],
            "labels": body.get("labels") or {},
            "servers": [],
            "created": catalogue.now(),
        }
        return Answer(201, {"placement_group": self.groups.add(shown).shown, "action": None})

    def _route_actions(self) -> None:
        def one(request: Request) -> Answer:
            name = "action_id" if "action_id" in request.names else "id"
            return Answer(200, {"action": self.shown(self.actions.get(request.number(name)))})

        def some(request: Request) -> Answer:
            wanted = [int(text) for text in request.query.get("id", ())]
            return Answer(200, {"actions": [self.shown(self.actions.get(n)) for n in wanted]})

        def of(request: Request) -> Answer:
            kind = request.path.split("/")[1].removesuffix("s")
            about = {"id": request.number(), "type": kind}
            found = [self.shown(a) for a in self.actions.known.values() if about in a.about]
            return paged(request, "actions", found)

        self.route("GET", "/actions", some)
        self.route("GET", "/actions/{id}", one)
        for many in ("servers", "volumes", "floating_ips", "networks", "firewalls", "images"):
            self.route("GET", f"/{many}/actions/{{id}}", one)
            self.route("GET", f"/{many}/{{id}}/actions/{{action_id}}", one)
            self.route("GET", f"/{many}/{{id}}/actions", of)


@contextmanager
def hetzner(home: Home, *, delay: float = 0.0) -> Iterator[Hetzner]:
    """An empty project that is served; nothing is left of it in the end."""
    machines = Machines(home)
    try:
        api = Hetzner(machines, delay=delay)
        with api.serving(machines.namespace):
            yield api
        api.actions.await_all()
    finally:
        machines.close()

"""DigitalOcean's volumes."""

from __future__ import annotations

import secrets
import uuid
from typing import TYPE_CHECKING

from tests.emulators.digitalocean_things import GIB, Substrate, Volume, known, listed, ok, refuse
from tests.emulators.served import Answer, Request

if TYPE_CHECKING:
    from tests.emulators.digitalocean import DigitalOcean


class Volumes:
    """Each belongs to one droplet at most; names are unique in a region."""

    def __init__(self, cloud: DigitalOcean[Substrate]) -> None:
        self.cloud = cloud
        self.all: dict[str, Volume] = {}
        for method, path, handler in (
            ("GET", "/v2/volumes", self._list),
            ("POST", "/v2/volumes", self._make),
            ("GET", "/v2/volumes/{volume}", lambda r: ok("volume", self._volume(r).shown())),
            ("DELETE", "/v2/volumes/{volume}", self._delete),
            ("POST", "/v2/volumes/{volume}/actions", self._act),
            ("GET", "/v2/volumes/{volume}/actions/{action}", cloud.action_of),
        ):
            cloud.route(method, path, handler)

    def _list(self, request: Request) -> Answer:
        name, region = request.first("name"), request.first("region")
        found = [
            one.shown()
            for one in self.all.values()
            if (not name or one.name == name) and (not region or one.region == region)
        ]
        return listed(request, "volumes", found)

    def _make(self, request: Request) -> Answer:
        body = request.body
        same = [one for one in self.all.values() if one.name == body["name"]]
        if any(one.region == body["region"] for one in same):
            raise refuse("a volume with this name already exists", 409, "conflict")
        labels = [self.cloud.tags.canonical(tag) for tag in body.get("tags") or ()]
        number = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
        new = Volume(number, body["name"], body["size_gigabytes"], body["region"], labels)
        self.cloud.machines.create_volume(new.name, new.size * GIB)
        self.all[number] = new
        return ok("volume", new.shown(), 201)

    def _delete(self, request: Request) -> Answer:
        found = self._volume(request)
        if found.droplet:
            raise refuse("volume is attached to a Droplet", 409, "conflict")
        self.cloud.machines.delete_volume(found.name)
        del self.all[found.id]
        return Answer(204)

    def _act(self, request: Request) -> Answer:
        found, body = self._volume(request), request.body
        where = ("volume", found.id)
        if self.cloud.actions.busy(where):
            raise refuse("Volume already has a pending event.")
        holder = known(self.cloud.droplets.all.get(body["droplet_id"]), "Droplet not found")
        self.cloud.droplets.free(holder)
        if body["type"] == "attach":
            if found.droplet:
                raise refuse("attached volume: it must be detached first")

            def work() -> None:
                self.cloud.machines.attach(found.name, holder.machine)
                found.droplet = holder.id
        else:
            if found.droplet != holder.id:
                raise refuse("the volume is not attached to this Droplet")

            def work() -> None:
                self.cloud.machines.detach(found.name)
                found.droplet = 0

        about = ("backend", None, found.region)
        begun = self.cloud.actions.begin(f"{body['type']}_volume", about, work, on=where)
        return self.cloud.shown(begun, 202)

    def _volume(self, request: Request) -> Volume:
        return known(self.all.get(request.names["volume"]))

"""DigitalOcean's cloud firewalls."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.emulators.digitalocean_things import Json, Substrate, known, listed, now, ok, refuse
from tests.emulators.served import Answer, Request

if TYPE_CHECKING:
    from tests.emulators.digitalocean import DigitalOcean


class Firewalls:
    """Kept and shown; no packet is filtered by them."""

    def __init__(self, cloud: DigitalOcean[Substrate]) -> None:
        self.cloud = cloud
        self.all: dict[str, Json] = {}
        for method, path, handler in (
            ("GET", "/v2/firewalls", self._list),
            ("POST", "/v2/firewalls", self._make),
            ("PUT", "/v2/firewalls/{id}", self._change),
            ("DELETE", "/v2/firewalls/{id}", self._delete),
        ):
            cloud.route(method, path, handler)

    def _list(self, request: Request) -> Answer:
        return listed(request, "firewalls", [*self.all.values()])

    def _make(self, request: Request) -> Answer:
        body = request.body
        if any(one["name"] == body["name"] for one in self.all.values()):
            raise refuse("duplicate name", 409, "conflict")
        number = str(uuid.uuid4())
        self.all[number] = self._filled(number, body)
        return ok("firewall", self.all[number], 202)

    def _change(self, request: Request) -> Answer:
        number = request.names["id"]
        known(self.all.get(number))
        self.all[number] = self._filled(number, request.body)
        return ok("firewall", self.all[number])

    def _delete(self, request: Request) -> Answer:
        known(self.all.pop(request.names["id"], None))
        return Answer(204)

    def _filled(self, number: str, body: Json) -> Json:
        for tag in body.get("tags") or ():
            if self.cloud.tags.all.get(tag.lower()) != tag:
                raise refuse(f"tag {tag} does not exist")
        more = {"id": number, "status": "succeeded", "created_at": now()}
        return {**body, **more, "droplet_ids": [], "pending_changes": []}

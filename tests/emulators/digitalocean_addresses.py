"""DigitalOcean's reserved IPs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from tests.emulators import digitalocean_things as things
from tests.emulators.digitalocean_things import (
    Droplet,
    Json,
    ReservedIp,
    Substrate,
    known,
    listed,
    ok,
    refuse,
)
from tests.emulators.served import Answer, Request

if TYPE_CHECKING:
    from tests.emulators.digitalocean import DigitalOcean


class Addresses:
    """Each leads to one droplet of its region at most, and each droplet has one at most."""

    def __init__(self, cloud: DigitalOcean[Substrate]) -> None:
        self.cloud = cloud
        self.all: dict[str, ReservedIp] = {}
        for method, path, handler in (
            ("GET", "/v2/reserved_ips", self._list),
            ("POST", "/v2/reserved_ips", self._reserve),
            ("GET", "/v2/reserved_ips/{ip}", lambda r: ok("reserved_ip", self._shown(self._at(r)))),
            ("DELETE", "/v2/reserved_ips/{ip}", self._release),
            ("POST", "/v2/reserved_ips/{ip}/actions", self._act),
            ("GET", "/v2/reserved_ips/{ip}/actions/{action}", cloud.action_of),
        ):
            cloud.route(method, path, handler)

    def lead(self, found: ReservedIp, number: int) -> None:
        """Lead it to a droplet, or to none: first what it is translated to, then the route."""
        found.droplet = number
        droplets = self.cloud.droplets.all
        self.cloud.translate(
            {
                one.ip: self._target(droplets[one.droplet])
                for one in self.all.values()
                if one.droplet in droplets
            }
        )
        holder = droplets.get(number)
        self.cloud.machines.assign(found.key, holder.machine if holder else "")

    def _list(self, request: Request) -> Answer:
        found = [self._shown(one) for one in self.all.values()]
        return listed(request, "reserved_ips", found)

    def _reserve(self, request: Request) -> Answer:
        if len(self.all) >= self.cloud.most_reserved:
            raise refuse("You have reached the limit of reserved IPs; ask for more in a ticket.")
        droplets = self.cloud.droplets.all
        region = request.body.get("region") or droplets[request.body["droplet_id"]].region
        key = f"reserved-{next(self.cloud.numbers)}"
        new = ReservedIp(self.cloud.machines.floating(key)[0], key, region)
        self.all[new.ip] = new
        if number := request.body.get("droplet_id"):
            self.lead(new, number)
        return Answer(202, {"reserved_ip": self._shown(new), "links": {}})

    def _release(self, request: Request) -> Answer:
        found = self._at(request)
        self.lead(found, 0)
        del self.all[found.ip]
        return Answer(204)

    def _act(self, request: Request) -> Answer:
        found, verb = self._at(request), request.body["type"]
        if self.cloud.actions.busy(("reserved", found.ip)):
            raise refuse("The floating IP already has a pending event.")
        number = 0
        if verb == "assign":
            number = request.body["droplet_id"]
            target = self.cloud.droplets.all.get(number)
            if target is None:
                raise refuse("Droplet not found")
            if target.region != found.region:
                raise refuse("The Droplet is in another region than the reserved IP.")
            others = [one for one in self.all.values() if one.droplet == number]
            if others and others != [found]:
                raise refuse("The Droplet has a reserved IP already.")
            self.cloud.droplets.free(target)
        elif not found.droplet:
            raise refuse("The reserved IP is not assigned.")
        about = ("floating_ip", None, found.region)
        where = ("reserved", found.ip)

        def work() -> None:
            self.lead(found, number)

        return self.cloud.shown(self.cloud.actions.begin(f"{verb}_ip", about, work, on=where), 201)

    def _target(self, holder: Droplet) -> str:
        return holder.anchor or self.cloud.machines.address(holder.machine).v4

    def _at(self, request: Request) -> ReservedIp:
        return known(self.all.get(request.names["ip"]))

    def _shown(self, found: ReservedIp) -> Json:
        holder = self.cloud.droplets.all.get(found.droplet)
        return {
            "ip": found.ip,
            "droplet": self.cloud.droplets.seen(holder) if holder else None,
            "region": things.region(found.region),
            "locked": self.cloud.actions.busy(("reserved", found.ip)),
            "project_id": str(uuid.UUID(int=7)),
        }

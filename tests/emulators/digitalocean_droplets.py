"""DigitalOcean's droplets, and the snapshots that are taken of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tests.emulators import digitalocean_things as things
from tests.emulators.actions import Action
from tests.emulators.digitalocean_things import (
    GIB,
    REGIONS,
    SIZES,
    Droplet,
    Image,
    Json,
    Substrate,
    known,
    listed,
    ok,
    refuse,
)
from tests.emulators.served import Answer, Request

if TYPE_CHECKING:
    from tests.emulators.digitalocean import DigitalOcean

ACTIONS: Final = "https://api.digitalocean.com/v2/actions"


class Droplets:
    """Names are not unique. What is begun at one is refused while something else is under way."""

    def __init__(self, cloud: DigitalOcean[Substrate]) -> None:
        self.cloud = cloud
        self.all: dict[int, Droplet] = {}
        for method, path, handler in (
            ("GET", "/v2/droplets", self._list),
            ("POST", "/v2/droplets", self._make),
            ("GET", "/v2/droplets/{id}", self._read),
            ("DELETE", "/v2/droplets/{id}", self._delete),
            ("GET", "/v2/droplets/{id}/snapshots", self._snapshots_of),
            ("POST", "/v2/droplets/{id}/actions", self._act),
            ("GET", "/v2/droplets/{id}/actions/{action}", cloud.action_of),
        ):
            cloud.route(method, path, handler)

    def seen(self, found: Droplet) -> Json:
        """As the API shows it."""
        address = self.cloud.machines.address(found.machine).v4 if found.machine else ""
        has = [one.id for one in self.cloud.volumes.all.values() if one.droplet == found.id]
        return things.droplet(found, self._status(found), address, has)

    def free(self, found: Droplet) -> None:
        """Refuse what is to happen to it while its last action runs."""
        if self.cloud.actions.busy(("droplet", found.id)):
            raise refuse("Droplet already has a pending event.")

    def _list(self, request: Request) -> Answer:
        tag, name = request.first("tag_name"), request.first("name")
        found = [
            self.seen(one)
            for one in self.all.values()
            if (not tag or self.cloud.tags.all.get(tag.lower(), tag) in one.tags)
            and (not name or one.name.lower() == name.lower())
        ]
        return listed(request, "droplets", found)

    def _read(self, request: Request) -> Answer:
        return ok("droplet", self.seen(self._droplet(request)))

    def _make(self, request: Request) -> Answer:
        body = request.body
        image = self.cloud.images.named(body["image"])
        if image is None:
            raise refuse("You specified an invalid image for Droplet creation.")
        region = body.get("region") or REGIONS[0]
        if body["size"] not in SIZES:
            raise refuse("You specified an invalid size for Droplet creation.")
        if region not in REGIONS:
            raise refuse("You specified an invalid region for Droplet creation.")
        if (region, body["size"]) in self.cloud.full:
            raise refuse("Size is not available in this region.")
        if image.status != "available" or region not in image.regions:
            raise refuse("You specified an invalid image for Droplet creation.")
        chosen = [self.cloud.keys.given(one) for one in body.get("ssh_keys") or ()]
        if image.kind == "custom" and not chosen:
            raise refuse("This image requires an SSH key.")
        labels = [self.cloud.tags.canonical(tag) for tag in body.get("tags") or ()]
        number = next(self.cloud.numbers)
        vpc = self.cloud.vpcs[region]
        new = Droplet(number, body["name"], region, body["size"], image, labels, vpc)
        self.all[number] = new
        addresses = [f"{new.private}/20", *([f"{new.anchor}/16"] if new.anchor else [])]
        told = things.metadata(new)
        keys = [] if image.kind == "custom" else [one.public_key for one in chosen]

        def boot() -> None:
            data = str(body.get("user_data") or "")
            new.machine = self.cloud.machines.create(
                new.name, image.key, data, keys=keys, further=addresses, metadata=told
            )

        begun = self._begin("create", new, boot)
        link = {"id": begun.id, "rel": "create", "href": f"{ACTIONS}/{begun.id}"}
        return Answer(202, {"droplet": self.seen(new), "links": {"actions": [link]}})

    def _delete(self, request: Request) -> Answer:
        found = self._droplet(request)
        self.free(found)
        del self.all[found.id]
        for ip in self.cloud.addresses.all.values():
            if ip.droplet == found.id:
                self.cloud.addresses.lead(ip, 0)
        for volume in self.cloud.volumes.all.values():
            if volume.droplet == found.id:
                volume.droplet = 0
        if found.machine:
            self.cloud.machines.delete(found.machine)
        return Answer(204)

    def _act(self, request: Request) -> Answer:
        found, verb = self._droplet(request), request.body["type"]
        self.free(found)
        work = {
            "power_off": lambda: self.cloud.machines.power_off(found.machine),
            "power_on": lambda: self.cloud.machines.power_on(found.machine),
            "power_cycle": lambda: self.cloud.machines.reset(found.machine),
            "reboot": lambda: self.cloud.machines.reboot(found.machine),
            "shutdown": lambda: self._shut_down(found),
            "snapshot": lambda: self._snapshot(found, request.body.get("name", "")),
        }.get(verb)
        if work is None:
            raise refuse(f"{verb} is not supported")
        status = self._status(found)
        if (verb, status) in (("power_off", "off"), ("power_on", "active")):
            said = "off" if status == "off" else "on"
            raise refuse(f"Droplet is already powered {said}.")
        return self.cloud.shown(self._begin(verb, found, work), 201)

    def _begin(self, verb: str, found: Droplet, work: Callable[[], object]) -> Action:
        about = ("droplet", found.id, found.region)
        return self.cloud.actions.begin(verb, about, work, on=("droplet", found.id))

    def _shut_down(self, found: Droplet) -> None:
        self.cloud.machines.shutdown(found.machine)
        if not self.cloud.machines.await_off(found.machine):
            raise refuse("the Droplet does not go down")

    def _snapshot(self, found: Droplet, name: str) -> None:
        number = next(self.cloud.numbers)
        key = f"snapshot-{number}"
        size = self.cloud.machines.snapshot(found.machine, key)
        kept = Image(number, name, "snapshot", key, [found.region], size=size)
        self.cloud.images.all[number] = kept

    def _snapshots_of(self, request: Request) -> Answer:
        self._droplet(request)
        found = [
            {
                "id": one.id,
                "name": one.name,
                "type": "snapshot",
                "distribution": "Debian",
                "slug": None,
                "public": False,
                "regions": one.regions,
                "created_at": one.created,
                "min_disk_size": 10,
                "size_gigabytes": round(one.size / GIB, 2),
            }
            for one in self.cloud.images.all.values()
            if one.kind == "snapshot"
        ]
        return listed(request, "snapshots", found)

    def _droplet(self, request: Request) -> Droplet:
        name = request.names["id"]
        return known(self.all.get(int(name)) if name.isdecimal() else None)

    def _status(self, found: Droplet) -> str:
        if not found.machine:
            return "new"
        return "off" if self.cloud.machines.status(found.machine) == "off" else "active"

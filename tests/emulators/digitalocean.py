"""DigitalOcean's API, as much of it as our provider, its own clients and Packer use.

What the documents do not tell was taken from what its clients report: a second SSH key with the
same fingerprint is 422, a second volume with the same name 409, an action on a droplet that has
another one 422 "already has a pending event"; names of droplets are not unique; tags keep the case
in which they were first written; a droplet of a custom image needs an SSH key and has no anchor
address.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import secrets
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from images.home import Home
from tests.emulators import digitalocean_things as things
from tests.emulators.actions import Action, Actions
from tests.emulators.digitalocean_network import Translated
from tests.emulators.digitalocean_things import (
    BASES,
    REGIONS,
    SIZES,
    Droplet,
    Image,
    Json,
    Key,
    ReservedIp,
    Substrate,
    Volume,
    known,
    page,
    refuse,
)
from tests.emulators.document import Document, document
from tests.emulators.served import Allowance, Answer, Api, Request

Kind = TypeVar("Kind", bound=Substrate)
GIB: Final = 1 << 30
Translate = Callable[[Mapping[str, str]], None]
"""Given the address that each assigned reserved IP is translated to, makes the network so."""


def described() -> Document:
    """The vendor's document, in which `off` became `false` on its way through YAML."""
    found = document("digitalocean")
    states = found.raw["x-defs"]["resources_droplets_models_droplet"]["properties"]["status"]
    states["enum"] = ["off" if word is False else word for word in states["enum"]]
    return found


class DigitalOcean(Api, Generic[Kind]):
    """One account. `internet` is what the vendor finds at URLs; bases are keys of the substrate's
    images by slug. `full` are sizes that are sold out in regions: `{("fra1", "s-1vcpu-1gb")}`."""

    def __init__(
        self,
        machines: Kind,
        *,
        internet: Mapping[str, Path] | None = None,
        add_image: Callable[[str, Path], None] = lambda _key, _path: None,
        bases: Mapping[str, str] | None = None,
        translate: Translate = lambda _: None,
        delay: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        allowance: Allowance | None = None,
        most_reserved: int = 3,
    ) -> None:
        super().__init__(described(), allowance=allowance)
        self.machines = machines
        self.internet = dict(internet or {})
        self.add_image = add_image
        self.translate = translate
        self.actions = Actions(delay=delay, clock=clock)
        self.most_reserved = most_reserved
        self.full: set[tuple[str, str]] = set()
        self.keys: dict[int, Key] = {}
        self.droplets: dict[int, Droplet] = {}
        self.volumes: dict[str, Volume] = {}
        self.reserved: dict[str, ReservedIp] = {}
        self.tags: dict[str, str] = {}
        self.firewalls: dict[str, Json] = {}
        self.images = {
            number: Image(
                number, name, "base", (bases or {}).get(slug, slug), [*REGIONS], slug=slug
            )
            for number, (slug, name) in enumerate(BASES.items(), 101)
        }
        self.vpcs = {slug: str(uuid.UUID(int=n)) for n, slug in enumerate(REGIONS, 1)}
        self._numbers = itertools.count(1000)
        self._routes_of_things()

    def failing(self, code: str) -> None:
        """What is begun from now on ends in an error."""
        self.actions.failing = code

    def error(self, status: int, code: str, message: str, details: Any = None) -> Answer:
        """The vendor's error body."""
        body = {"id": code or "error", "message": message, "request_id": str(uuid.uuid4())}
        return Answer(status, body, {"Retry-After": "1"} if status == 429 else {})

    def headers(self) -> Mapping[str, str]:
        """What the vendor tells of its hourly limit."""
        return {"ratelimit-limit": "5000", "ratelimit-remaining": "4999", "ratelimit-reset": "0"}

    def left(self) -> dict[str, list[str]]:
        """What costs money or clutters the account: for tests that nothing is leaked."""
        return {
            "droplets": [one.name for one in self.droplets.values()],
            "volumes": [one.name for one in self.volumes.values()],
            "reserved": [*self.reserved],
            "images": [one.name for one in self.images.values() if one.kind != "base"],
            "keys": [one.name for one in self.keys.values()],
            "tags": [*self.tags.values()],
            "firewalls": [one["name"] for one in self.firewalls.values()],
        }

    def add_snapshot(self, name: str, source: Path, tags: Sequence[str]) -> None:
        """A snapshot that somebody took of a droplet, in every region."""
        number = next(self._numbers)
        self.add_image(f"snapshot-{number}", source)
        kept = [self._canonical(tag) for tag in tags]
        self.images[number] = Image(
            number, name, "snapshot", f"snapshot-{number}", [*REGIONS], kept, size=1 << 30
        )

    def _routes_of_things(self) -> None:
        for method, path, handler in (
            ("GET", "/v2/account", self._account),
            ("GET", "/v2/account/keys", lambda r: self._list(r, "ssh_keys", self.keys)),
            ("POST", "/v2/account/keys", self._make_key),
            ("GET", "/v2/account/keys/{key}", lambda r: _ok("ssh_key", self._key(r).shown())),
            ("PUT", "/v2/account/keys/{key}", self._name_key),
            ("DELETE", "/v2/account/keys/{key}", self._delete_key),
            ("GET", "/v2/firewalls", self._list_firewalls),
            ("POST", "/v2/firewalls", self._make_firewall),
            ("PUT", "/v2/firewalls/{id}", self._change_firewall),
            ("DELETE", "/v2/firewalls/{id}", self._delete_firewall),
            ("GET", "/v2/actions/{id}", lambda r: self._shown(self.actions.get(r.number()), 200)),
            ("GET", "/v2/regions", self._regions),
            ("GET", "/v2/sizes", self._sizes),
            ("GET", "/v2/droplets", self._list_droplets),
            ("POST", "/v2/droplets", self._make_droplet),
            ("GET", "/v2/droplets/{id}", lambda r: _ok("droplet", self._seen(self._droplet(r)))),
            ("DELETE", "/v2/droplets/{id}", self._delete_droplet),
            ("GET", "/v2/droplets/{id}/snapshots", self._snapshots_of),
            ("POST", "/v2/droplets/{id}/actions", self._act_on_droplet),
            ("GET", "/v2/droplets/{id}/actions/{action}", self._action_of),
            ("GET", "/v2/images", self._list_images),
            ("POST", "/v2/images", self._import_image),
            ("GET", "/v2/images/{image}", lambda r: _ok("image", self._image(r).shown())),
            ("PUT", "/v2/images/{image}", self._name_image),
            ("DELETE", "/v2/images/{image}", self._delete_image),
            ("POST", "/v2/images/{image}/actions", self._act_on_image),
            ("GET", "/v2/images/{image}/actions/{action}", self._action_of),
            ("DELETE", "/v2/snapshots/{image}", self._delete_image),
            ("GET", "/v2/reserved_ips", self._list_reserved),
            ("POST", "/v2/reserved_ips", self._reserve),
            ("GET", "/v2/reserved_ips/{ip}", lambda r: _ok("reserved_ip", self._ip(self._at(r)))),
            ("DELETE", "/v2/reserved_ips/{ip}", self._release),
            ("POST", "/v2/reserved_ips/{ip}/actions", self._act_on_reserved),
            ("GET", "/v2/reserved_ips/{ip}/actions/{action}", self._action_of),
            ("GET", "/v2/tags", self._list_tags),
            ("POST", "/v2/tags", self._make_tag),
            ("GET", "/v2/tags/{tag}", lambda r: _ok("tag", self._tag(self._tag_named(r)))),
            ("DELETE", "/v2/tags/{tag}", self._delete_tag),
            ("POST", "/v2/tags/{tag}/resources", self._tag_things),
            ("DELETE", "/v2/tags/{tag}/resources", self._untag_things),
            ("GET", "/v2/volumes", self._list_volumes),
            ("POST", "/v2/volumes", self._make_volume),
            ("GET", "/v2/volumes/{volume}", lambda r: _ok("volume", self._volume(r).shown())),
            ("DELETE", "/v2/volumes/{volume}", self._delete_volume),
            ("POST", "/v2/volumes/{volume}/actions", self._act_on_volume),
            ("GET", "/v2/volumes/{volume}/actions/{action}", self._action_of),
        ):
            self.route(method, path, handler)

    # account, regions, sizes

    def _account(self, _: Request) -> Answer:
        account = {
            "droplet_limit": 25,
            "floating_ip_limit": self.most_reserved,
            "email": "someone@example.org",
            "uuid": str(uuid.UUID(int=9)),
            "email_verified": True,
            "status": "active",
            "status_message": "",
        }
        return _ok("account", account)

    def _regions(self, request: Request) -> Answer:
        return Answer(200, page("regions", [*map(things.region, REGIONS)], request.query))

    def _sizes(self, request: Request) -> Answer:
        found = [*map(things.size, SIZES)]
        for one in found:
            one["regions"] = [r for r in REGIONS if (r, one["slug"]) not in self.full]
        return Answer(200, page("sizes", found, request.query))

    def _list(self, request: Request, key: str, found: Mapping[Any, Any]) -> Answer:
        return Answer(200, page(key, [one.shown() for one in found.values()], request.query))

    # SSH keys

    def _make_key(self, request: Request) -> Answer:
        line = str(request.body["public_key"])
        try:
            kind, blob = line.split()[:2]
            if kind.encode() not in base64.b64decode(blob, validate=True)[:30]:
                raise ValueError(kind)
        except (ValueError, binascii.Error):
            raise refuse("SSH Key is invalid") from None
        new = Key(next(self._numbers), request.body["name"], line)
        if any(one.fingerprint == new.fingerprint for one in self.keys.values()):
            raise refuse("SSH Key is already in use on your account")
        self.keys[new.id] = new
        return _ok("ssh_key", new.shown(), 201)

    def _key(self, request: Request) -> Key:
        wanted = request.names["key"].replace("%3A", ":")
        every = self.keys.values()
        found = next((one for one in every if wanted in (str(one.id), one.fingerprint)), None)
        return known(found)  # type: ignore[no-any-return]

    def _name_key(self, request: Request) -> Answer:
        found = self._key(request)
        found.name = request.body.get("name", found.name)
        return _ok("ssh_key", found.shown())

    def _delete_key(self, request: Request) -> Answer:
        del self.keys[self._key(request).id]
        return Answer(204)

    # droplets

    def _list_droplets(self, request: Request) -> Answer:
        tag, name = request.first("tag_name"), request.first("name")
        found = [
            self._seen(one)
            for one in self.droplets.values()
            if (not tag or self.tags.get(tag.lower(), tag) in one.tags)
            and (not name or one.name.lower() == name.lower())
        ]
        return Answer(200, page("droplets", found, request.query))

    def _make_droplet(self, request: Request) -> Answer:
        body = request.body
        image = self._image_of(body["image"])
        region = body.get("region") or REGIONS[0]
        if body["size"] not in SIZES:
            raise refuse("You specified an invalid size for Droplet creation.")
        if region not in REGIONS:
            raise refuse("You specified an invalid region for Droplet creation.")
        if (region, body["size"]) in self.full:
            raise refuse("Size is not available in this region.")
        if image.status != "available" or region not in image.regions:
            raise refuse("You specified an invalid image for Droplet creation.")
        chosen = [self._key_given(one) for one in body.get("ssh_keys") or ()]
        if image.kind == "custom" and not chosen:
            raise refuse("This image requires an SSH key.")
        labels = [self._canonical(tag) for tag in body.get("tags") or ()]
        number = next(self._numbers)
        new = Droplet(number, body["name"], region, body["size"], image, labels, self.vpcs[region])
        self.droplets[number] = new
        addresses = [f"{new.private}/20", *([f"{new.anchor}/16"] if new.anchor else [])]
        told = things.metadata(new)
        keys = [] if image.kind == "custom" else [one.public_key for one in chosen]

        def boot() -> None:
            data = str(body.get("user_data") or "")
            new.machine = self.machines.create(
                new.name, image.key, data, keys=keys, further=addresses, metadata=told
            )

        begun = self._begin("create", new, boot)
        if begun.error:
            new.failed = True
        link = {"id": begun.id, "rel": "create", "href": self._href(begun)}
        return Answer(202, {"droplet": self._seen(new), "links": {"actions": [link]}})

    def _key_given(self, given: Any) -> Key:
        every = self.keys.values()
        found = next(
            (one for one in every if given in (one.id, str(one.id), one.fingerprint)), None
        )
        if found is None:
            raise refuse(f"{given} are invalid key identifiers for Droplet creation.")
        return found

    def _delete_droplet(self, request: Request) -> Answer:
        found = self._droplet(request)
        self._free(found)
        del self.droplets[found.id]
        for ip in self.reserved.values():
            if ip.droplet == found.id:
                self._lead(ip, 0)
        for volume in self.volumes.values():
            if volume.droplet == found.id:
                volume.droplet = 0
        if found.machine:
            self.machines.delete(found.machine)
        return Answer(204)

    def _act_on_droplet(self, request: Request) -> Answer:
        found, verb = self._droplet(request), request.body["type"]
        self._free(found)
        work = {
            "power_off": lambda: self.machines.power_off(found.machine),
            "power_on": lambda: self.machines.power_on(found.machine),
            "power_cycle": lambda: self.machines.reset(found.machine),
            "reboot": lambda: self.machines.reboot(found.machine),
            "shutdown": lambda: self._shut_down(found),
            "snapshot": lambda: self._snapshot(found, request.body.get("name", "")),
        }.get(verb)
        if work is None:
            raise refuse(f"{verb} is not supported")
        status = self._status(found)
        if (verb, status) in (("power_off", "off"), ("power_on", "active")):
            said = "off" if status == "off" else "on"
            raise refuse(f"Droplet is already powered {said}.")
        return self._shown(self._begin(verb, found, work), 201)

    def _shut_down(self, found: Droplet) -> None:
        self.machines.shutdown(found.machine)
        if not self.machines.await_off(found.machine):
            raise refuse("the Droplet does not go down")

    def _snapshot(self, found: Droplet, name: str) -> None:
        number = next(self._numbers)
        key = f"snapshot-{number}"
        size = self.machines.snapshot(found.machine, key)
        kept = Image(number, name, "snapshot", key, [found.region], size=size)
        self.images[number] = kept

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
            for one in self.images.values()
            if one.kind == "snapshot"
        ]
        return Answer(200, page("snapshots", found, request.query))

    def _droplet(self, request: Request) -> Droplet:
        name = request.names["id"]
        return known(self.droplets.get(int(name)) if name.isdecimal() else None)  # type: ignore[no-any-return]

    def _status(self, found: Droplet) -> str:
        if not found.machine:
            return "new"
        return "off" if self.machines.status(found.machine) == "off" else "active"

    def _seen(self, found: Droplet) -> Json:
        address = self.machines.address(found.machine).v4 if found.machine else ""
        has = [one.id for one in self.volumes.values() if one.droplet == found.id]
        return things.droplet(found, self._status(found), address, has)

    def _free(self, found: Droplet) -> None:
        if self.actions.busy(("droplet", found.id)):
            raise refuse("Droplet already has a pending event.")

    # images

    def _list_images(self, request: Request) -> Answer:
        kind, tag = request.first("type"), request.first("tag_name")
        private = request.first("private") == "true"
        found = [
            one.shown()
            for one in self.images.values()
            if not (private and one.kind == "base")
            and not (kind and one.kind != "base")
            and (not tag or self.tags.get(tag.lower(), tag) in one.tags)
        ]
        return Answer(200, page("images", found, request.query))

    def _import_image(self, request: Request) -> Answer:
        body = request.body
        number = next(self._numbers)
        labels = [self._canonical(tag) for tag in body.get("tags") or ()]
        new = Image(
            number, body["name"], "custom", f"custom-{number}", [body["region"]], labels, "", "NEW"
        )
        self.images[number] = new

        def fetch() -> None:
            source = self.internet.get(body["url"])
            if source is None:
                new.why = "your image could not be downloaded"
                return
            self.add_image(new.key, source)
            new.size = source.stat().st_blocks * 512
            new.status = "available"

        self.actions.begin("import", ("image", number, body["region"]), fetch, on=("image", number))
        return _ok("image", new.shown(), 202)

    def _image_of(self, given: Any) -> Image:
        every = self.images.values()
        found = next((one for one in every if str(given) in (str(one.id), one.slug)), None)
        if found is None:
            raise refuse("You specified an invalid image for Droplet creation.")
        return found

    def _image(self, request: Request) -> Image:
        wanted, every = request.names["image"], self.images.values()
        return known(next((one for one in every if wanted in (str(one.id), one.slug)), None))  # type: ignore[no-any-return]

    def _name_image(self, request: Request) -> Answer:
        found = self._image(request)
        found.name = request.body.get("name", found.name)
        return _ok("image", found.shown())

    def _delete_image(self, request: Request) -> Answer:
        found = self._image(request)
        if found.kind == "base":
            raise refuse("You are not authorized to perform this operation", 403, "forbidden")
        del self.images[found.id]
        self.machines.delete_image(found.key)
        return Answer(204)

    def _act_on_image(self, request: Request) -> Answer:
        found, where = self._image(request), request.body.get("region", "")
        if request.body["type"] != "transfer" or where not in REGIONS:
            raise refuse("Region is invalid")
        about = ("image", found.id, where)
        begun = self.actions.begin("transfer", about, done=lambda: found.regions.append(where))
        return Answer(201, things.action(begun, self.actions.clock()))

    # reserved IPs

    def _list_reserved(self, request: Request) -> Answer:
        found = [self._ip(one) for one in self.reserved.values()]
        return Answer(200, page("reserved_ips", found, request.query))

    def _reserve(self, request: Request) -> Answer:
        if len(self.reserved) >= self.most_reserved:
            raise refuse("You have reached the limit of reserved IPs; ask for more in a ticket.")
        region = request.body.get("region") or self.droplets[request.body["droplet_id"]].region
        key = f"reserved-{next(self._numbers)}"
        new = ReservedIp(self.machines.floating(key)[0], key, region)
        self.reserved[new.ip] = new
        if number := request.body.get("droplet_id"):
            self._lead(new, number)
        return Answer(202, {"reserved_ip": self._ip(new), "links": {}})

    def _release(self, request: Request) -> Answer:
        found = self._at(request)
        self._lead(found, 0)
        del self.reserved[found.ip]
        return Answer(204)

    def _act_on_reserved(self, request: Request) -> Answer:
        found, verb = self._at(request), request.body["type"]
        if self.actions.busy(("reserved", found.ip)):
            raise refuse("The floating IP already has a pending event.")
        number = 0
        if verb == "assign":
            number = request.body["droplet_id"]
            target = self.droplets.get(number)
            if target is None:
                raise refuse("Droplet not found")
            if target.region != found.region:
                raise refuse("The Droplet is in another region than the reserved IP.")
            others = [one for one in self.reserved.values() if one.droplet == number]
            if others and others != [found]:
                raise refuse("The Droplet has a reserved IP already.")
            self._free(target)
        elif not found.droplet:
            raise refuse("The reserved IP is not assigned.")
        about = ("floating_ip", None, found.region)
        where = ("reserved", found.ip)
        begun = self.actions.begin(f"{verb}_ip", about, lambda: self._lead(found, number), on=where)
        return self._shown(begun, 201)

    def _lead(self, found: ReservedIp, number: int) -> None:
        """Lead it to a droplet, or to none: first what it is translated to, then the route."""
        found.droplet = number
        self.translate(
            {
                one.ip: self._target(self.droplets[one.droplet])
                for one in self.reserved.values()
                if one.droplet in self.droplets
            }
        )
        holder = self.droplets.get(number)
        self.machines.assign(found.key, holder.machine if holder else "")

    def _target(self, holder: Droplet) -> str:
        return holder.anchor or self.machines.address(holder.machine).v4

    def _at(self, request: Request) -> ReservedIp:
        return known(self.reserved.get(request.names["ip"]))  # type: ignore[no-any-return]

    def _ip(self, found: ReservedIp) -> Json:
        holder = self.droplets.get(found.droplet)
        return {
            "ip": found.ip,
            "droplet": self._seen(holder) if holder else None,
            "region": things.region(found.region),
            "locked": self.actions.busy(("reserved", found.ip)),
            "project_id": str(uuid.UUID(int=7)),
        }

    # tags

    def _canonical(self, tag: str) -> str:
        return self.tags.setdefault(tag.lower(), tag)

    def _list_tags(self, request: Request) -> Answer:
        found = [self._tag(name) for name in self.tags.values()]
        return Answer(200, page("tags", found, request.query))

    def _make_tag(self, request: Request) -> Answer:
        return _ok("tag", self._tag(self._canonical(request.body["name"])), 201)

    def _tag_named(self, request: Request) -> str:
        name = request.names["tag"].replace("%3A", ":")
        return known(name if self.tags.get(name.lower()) == name else None)  # type: ignore[no-any-return]

    def _tag(self, name: str) -> Json:
        counted = {
            "droplets": sum(name in one.tags for one in self.droplets.values()),
            "imgages": sum(name in one.tags for one in self.images.values()),
            "volumes": sum(name in one.tags for one in self.volumes.values()),
            "volume_snapshots": 0,
            "databases": 0,
        }
        each: Json = {kind: {"count": count} for kind, count in counted.items()}
        return {"name": name, "resources": {"count": sum(counted.values()), **each}}

    def _tagged(self, request: Request) -> list[list[str]]:
        kinds: dict[str, Mapping[Any, Any]] = {
            "droplet": self.droplets,
            "image": self.images,
            "volume": self.volumes,
        }
        found = []
        for one in request.body["resources"]:
            kind, name = one["resource_type"], one["resource_id"]
            thing = kinds[kind].get(name if kind == "volume" else int(name))
            found.append(known(thing).tags)
        return found

    def _tag_things(self, request: Request) -> Answer:
        name = self._tag_named(request)
        for tags in self._tagged(request):
            if name not in tags:
                tags.append(name)
        return Answer(204)

    def _untag_things(self, request: Request) -> Answer:
        name = self._tag_named(request)
        for tags in self._tagged(request):
            if name in tags:
                tags.remove(name)
        return Answer(204)

    def _delete_tag(self, request: Request) -> Answer:
        name = self._tag_named(request)
        del self.tags[name.lower()]
        for tags in self._all_tags():
            if name in tags:
                tags.remove(name)
        return Answer(204)

    def _all_tags(self) -> list[list[str]]:
        things = (self.droplets.values(), self.images.values(), self.volumes.values())
        return [one.tags for each in things for one in each]

    # volumes

    def _list_volumes(self, request: Request) -> Answer:
        name, region = request.first("name"), request.first("region")
        found = [
            one.shown()
            for one in self.volumes.values()
            if (not name or one.name == name) and (not region or one.region == region)
        ]
        return Answer(200, page("volumes", found, request.query))

    def _make_volume(self, request: Request) -> Answer:
        body = request.body
        same = [one for one in self.volumes.values() if one.name == body["name"]]
        if any(one.region == body["region"] for one in same):
            raise refuse("a volume with this name already exists", 409, "conflict")
        labels = [self._canonical(tag) for tag in body.get("tags") or ()]
        number = str(uuid.UUID(bytes=secrets.token_bytes(16), version=4))
        new = Volume(number, body["name"], body["size_gigabytes"], body["region"], labels)
        self.machines.create_volume(new.name, new.size * GIB)
        self.volumes[number] = new
        return _ok("volume", new.shown(), 201)

    def _delete_volume(self, request: Request) -> Answer:
        found = self._volume(request)
        if found.droplet:
            raise refuse("volume is attached to a Droplet", 409, "conflict")
        self.machines.delete_volume(found.name)
        del self.volumes[found.id]
        return Answer(204)

    def _act_on_volume(self, request: Request) -> Answer:
        found, body = self._volume(request), request.body
        where = ("volume", found.id)
        if self.actions.busy(where):
            raise refuse("Volume already has a pending event.")
        holder = known(self.droplets.get(body["droplet_id"]), "Droplet not found")
        self._free(holder)
        if body["type"] == "attach":
            if found.droplet:
                raise refuse("attached volume: it must be detached first")

            def work() -> None:
                self.machines.attach(found.name, holder.machine)
                found.droplet = holder.id
        else:
            if found.droplet != holder.id:
                raise refuse("the volume is not attached to this Droplet")

            def work() -> None:
                self.machines.detach(found.name)
                found.droplet = 0

        about = ("backend", None, found.region)
        begun = self.actions.begin(f"{body['type']}_volume", about, work, on=where)
        return self._shown(begun, 202)

    def _volume(self, request: Request) -> Volume:
        return known(self.volumes.get(request.names["volume"]))  # type: ignore[no-any-return]

    # firewalls

    def _list_firewalls(self, request: Request) -> Answer:
        return Answer(200, page("firewalls", [*self.firewalls.values()], request.query))

    def _make_firewall(self, request: Request) -> Answer:
        body = request.body
        if any(one["name"] == body["name"] for one in self.firewalls.values()):
            raise refuse("duplicate name", 409, "conflict")
        number = str(uuid.uuid4())
        self.firewalls[number] = self._filled(number, body)
        return _ok("firewall", self.firewalls[number], 202)

    def _change_firewall(self, request: Request) -> Answer:
        number = request.names["id"]
        known(self.firewalls.get(number))
        self.firewalls[number] = self._filled(number, request.body)
        return _ok("firewall", self.firewalls[number])

    def _delete_firewall(self, request: Request) -> Answer:
        known(self.firewalls.pop(request.names["id"], None))
        return Answer(204)

    def _filled(self, number: str, body: Json) -> Json:
        for tag in body.get("tags") or ():
            if self.tags.get(tag.lower()) != tag:
                raise refuse(f"tag {tag} does not exist")
        more = {"id": number, "status": "succeeded", "created_at": things.now()}
        return {**body, **more, "droplet_ids": [], "pending_changes": []}

    # actions

    def _begin(self, verb: str, found: Droplet, work: Callable[[], object]) -> Action:
        about = ("droplet", found.id, found.region)
        return self.actions.begin(verb, about, work, on=("droplet", found.id))

    def _shown(self, begun: Action, status: int) -> Answer:
        return _ok("action", things.action(begun, self.actions.clock()), status)

    def _action_of(self, request: Request) -> Answer:
        return self._shown(self.actions.get(int(request.names["action"])), 200)

    def _href(self, begun: Action) -> str:
        return f"https://api.digitalocean.com/v2/actions/{begun.id}"


def _ok(key: str, body: Json, status: int = 200) -> Answer:
    return Answer(status, {key: body})


@contextmanager
def digitalocean(
    home: Home, *, internet: dict[str, Path] | None = None, bases: Mapping[str, Path] | None = None
) -> Iterator[DigitalOcean[Translated]]:
    """An account whose droplets are machines in `home`; all of it is gone in the end.

    `internet` is what lies at which URL, `bases` the vendor's own images by their slugs.
    """
    machines = Translated(home)
    try:
        for slug, source in (bases or {}).items():
            machines.add_image(slug, source)
        cloud = DigitalOcean(
            machines,
            internet=internet,
            add_image=machines.add_image,
            translate=machines.translate,
        )
        with cloud.serving(machines.namespace):
            yield cloud
            cloud.actions.await_all()
    finally:
        machines.close()

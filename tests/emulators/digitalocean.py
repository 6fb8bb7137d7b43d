"""DigitalOcean's API, as much of it as our provider, its own clients and Packer use.

What the documents do not tell was taken from what its clients report: a second SSH key with the
same fingerprint is 422, a second volume with the same name 409, an action on a droplet that has
another one 422 "already has a pending event"; names of droplets are not unique; tags keep the case
in which they were first written; a droplet of a custom image needs an SSH key and has no anchor
address.
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from images.home import Home
from tests.emulators import digitalocean_things as things
from tests.emulators.actions import Action, Actions
from tests.emulators.digitalocean_addresses import Addresses
from tests.emulators.digitalocean_droplets import Droplets
from tests.emulators.digitalocean_firewalls import Firewalls
from tests.emulators.digitalocean_images import Images
from tests.emulators.digitalocean_keys import Keys
from tests.emulators.digitalocean_network import Translated
from tests.emulators.digitalocean_tags import Tags
from tests.emulators.digitalocean_things import REGIONS, SIZES, Substrate, listed, ok
from tests.emulators.digitalocean_volumes import Volumes
from tests.emulators.document import Document, document
from tests.emulators.served import Allowance, Answer, Api, Request

Kind_co = TypeVar("Kind_co", bound=Substrate, covariant=True)
Translate = Callable[[Mapping[str, str]], None]
"""Given the address that each assigned reserved IP is translated to, makes the network so."""


def described() -> Document:
    """The vendor's document, in which `off` became `false` on its way through YAML."""
    found = document("digitalocean")
    states = found.raw["x-defs"]["resources_droplets_models_droplet"]["properties"]["status"]
    states["enum"] = ["off" if word is False else word for word in states["enum"]]
    return found


class DigitalOcean(Api, Generic[Kind_co]):
    """One account. `internet` is what the vendor finds at URLs; bases are keys of the substrate's
    images by slug. `full` are sizes that are sold out in regions: `{("fra1", "s-1vcpu-1gb")}`."""

    def __init__(
        self,
        machines: Kind_co,
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
        self.vpcs = {slug: str(uuid.UUID(int=n)) for n, slug in enumerate(REGIONS, 1)}
        self.numbers = itertools.count(1000)
        self.tags = Tags(self)
        self.keys = Keys(self)
        self.images = Images(self, bases or {})
        self.droplets = Droplets(self)
        self.volumes = Volumes(self)
        self.addresses = Addresses(self)
        self.firewalls = Firewalls(self)
        self.route("GET", "/v2/account", self._account)
        self.route("GET", "/v2/regions", self._regions)
        self.route("GET", "/v2/sizes", self._sizes)
        self.route("GET", "/v2/actions/{action}", self.action_of)

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
            "droplets": [one.name for one in self.droplets.all.values()],
            "volumes": [one.name for one in self.volumes.all.values()],
            "reserved": [*self.addresses.all],
            "images": [one.name for one in self.images.all.values() if one.kind != "base"],
            "keys": [one.name for one in self.keys.all.values()],
            "tags": [*self.tags.all.values()],
            "firewalls": [one["name"] for one in self.firewalls.all.values()],
        }

    def shown(self, begun: Action, status: int) -> Answer:
        """An action."""
        return ok("action", things.action(begun, self.actions.clock()), status)

    def action_of(self, request: Request) -> Answer:
        """An action of a thing, as it is now."""
        return self.shown(self.actions.get(request.number("action")), 200)

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
        return ok("account", account)

    def _regions(self, request: Request) -> Answer:
        return listed(request, "regions", [*map(things.region, REGIONS)])

    def _sizes(self, request: Request) -> Answer:
        found = [*map(things.size, SIZES)]
        for one in found:
            one["regions"] = [r for r in REGIONS if (r, one["slug"]) not in self.full]
        return listed(request, "sizes", found)


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
